"""The sender: many at once, none in another's way, and gone when it is asked to leave."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from api.background.webhook_sender import WebhookSender
from jobs.database import Database, stores_on
from jobs.db.engine import connect
from jobs.db.migrate import upgrade
from jobs.model import LOCAL, NewJob, new_job_id
from jobs.outbound.http_client import NoResponse, Response
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.webhooks.outbox import Delivery, DeliveryState, Outbox
from jobs.webhooks.signing import webhook_secret

Answers = Callable[[str], Awaitable[Response]]
FINE = Response(204, 1.0, "", None)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'visavis.db'}"
    upgrade(url)
    opened = stores_on(connect(url))
    yield opened
    opened.close()


def canceled(database: Database, url: str, tenant: str = LOCAL) -> str:
    job_id = new_job_id()
    key = input_key(job_id, "wav")
    request = GenerateRequest()
    asked = {"input_key": key, "clip_seconds": 1.0, "callback_url": url, "tenant": tenant}
    database.jobs.submit(NewJob(job_id, request, **asked))
    assert database.jobs.cancel(job_id)
    return job_id


def told(database: Database, job_id: str) -> Delivery:
    (delivery,) = Outbox(database.engine).of_job(job_id)
    return delivery


def sender(database: Database, answers: Answers) -> WebhookSender:
    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        assert headers["webhook-id"]
        assert body
        return await answers(url)

    return WebhookSender(Outbox(database.engine), post, [b"key"])


async def fine(_url: str) -> Response:
    return FINE


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


def test_a_dead_endpoint_delays_nobody_else(database: Database) -> None:
    dead = [canceled(database, "https://dead.example/") for _ in range(12)]
    alive = [canceled(database, f"https://alive-{number % 4}.example/") for number in range(12)]

    async def answers(url: str) -> Response:
        if "dead" in url:
            await asyncio.sleep(3600)
        return FINE

    async def send() -> None:
        sending = sender(database, answers)
        running = asyncio.create_task(sending.run())
        await until(lambda: all(told(database, job).state == "delivered" for job in alive))
        sending.close()
        await running

    asyncio.run(send())

    assert {told(database, job).state for job in dead} == {DeliveryState.PENDING}
    assert sum(told(database, job).tries for job in dead) == 4  # places that a host may take


def test_two_senders_send_each_delivery_once(database: Database) -> None:
    jobs = [canceled(database, f"https://{number % 5}.example/") for number in range(20)]
    urls: list[str] = []

    async def answers(url: str) -> Response:
        urls.append(url)
        await asyncio.sleep(0.01)
        return FINE

    async def send() -> None:
        both = [sender(database, answers), sender(database, answers)]
        running = [asyncio.create_task(each.run()) for each in both]
        await until(lambda: all(told(database, job).state == "delivered" for job in jobs))
        for each in both:
            each.close()
        await asyncio.gather(*running)

    asyncio.run(send())

    assert len(urls) == 20


def test_a_webhook_is_signed_with_the_secret_of_its_tenant(database: Database) -> None:
    jobs = {
        canceled(database, "https://a.example/", tenant): tenant for tenant in ("acme", "rival")
    }
    verified: dict[str, str] = {}

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        for tenant in ("acme", "rival", LOCAL):
            with suppress(WebhookVerificationError):
                event = Webhook(webhook_secret(b"key", tenant)).verify(body, dict(headers))
                verified[event["data"]["id"]] = tenant
        return FINE

    async def send() -> None:
        sending = WebhookSender(Outbox(database.engine), post, [b"key"])
        await sending.start_due()
        await sending.until_sent()

    asyncio.run(send())

    assert verified == jobs


def test_what_is_under_way_when_it_leaves_is_sent_again_by_another(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.background.webhook_sender.GRACE_SECONDS", 0.05)
    job = canceled(database, "https://slow.example/")
    begun = asyncio.Event()

    async def stall(_url: str) -> Response:
        begun.set()
        await asyncio.sleep(3600)
        return FINE

    async def leave() -> None:
        sending = sender(database, stall)
        running = asyncio.create_task(sending.run())
        await begun.wait()
        sending.close()
        async with asyncio.timeout(30):
            await running

    async def follow() -> None:
        later = WebhookSender(
            Outbox(database.engine, clock=lambda: held.due_at), post_fine, [b"key"]
        )
        assert await later.start_due()
        await later.until_sent()

    async def post_fine(url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        return FINE

    asyncio.run(leave())
    held = told(database, job)
    assert (held.state, held.tries, held.log) == (DeliveryState.PENDING, 1, ())
    asyncio.run(follow())
    assert told(database, job).state is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (Response(500, 1.0, "oh no", None), 500, "The receiver answered 500: 'oh no'."),
        (Response(404, 1.0, "", None), 404, "The receiver answered 404."),
        (
            Response(301, 1.0, "", None),
            301,
            "The receiver answered 301, and redirects are not followed.",
        ),
        (NoResponse("the host a.example is away"), None, "The host a.example is away."),
        (
            ZeroDivisionError(),
            None,
            "Internal error of the sender, not caused by the receiver.",
        ),
    ],
)
def test_what_goes_wrong_is_written_down_and_tried_again(
    database: Database, answer: Response | Exception, status: int | None, sentence: str
) -> None:
    job = canceled(database, "https://a.example/")

    async def answers(_url: str) -> Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def send() -> None:
        sending = sender(database, answers)
        assert await sending.start_due()
        await sending.until_sent()

    asyncio.run(send())

    kept = told(database, job)
    assert (kept.state, kept.log[0]["status"], kept.log[0]["error"]) == (
        "pending",
        status,
        sentence,
    )


def test_one_that_is_gone_is_not_tried_again(database: Database) -> None:
    job = canceled(database, "https://a.example/")

    async def gone(_url: str) -> Response:
        return Response(410, 1.0, "", None)

    async def send() -> None:
        sending = sender(database, gone)
        await sending.start_due()
        await sending.until_sent()

    asyncio.run(send())

    kept = told(database, job)
    assert kept.state is DeliveryState.FAILED
    assert kept.log[0]["error"] == "The receiver answered 410 Gone: no further tries."


def test_a_database_that_is_away_does_not_stop_it(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    job = canceled(database, "https://a.example/")
    outbox = Outbox(database.engine)
    take_due, faults = outbox.take_due, iter([OSError("away")])

    def away_at_first(*, most: int, busy: Iterable[Delivery]) -> list[Delivery]:
        for fault in faults:
            raise fault
        return take_due(most=most, busy=busy)

    outbox.take_due = away_at_first

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        return FINE

    async def send() -> None:
        sending = WebhookSender(outbox, post, [b"key"])
        running = asyncio.create_task(sending.run())
        await until(lambda: told(database, job).state == "delivered")
        sending.close()
        await running

    asyncio.run(send())

    assert any("cannot look" in record.message for record in caplog.records)
