"""Webhook sender: concurrent deliveries that do not delay each other, and a quick shutdown."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from api.background.webhook_sender import WebhookSender
from jobs.database import Database, stores_on
from jobs.db.engine import connect
from jobs.model import LOCAL, NewJob, new_job_id
from jobs.outbound.http_client import NoResponse, Response
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.webhooks.outbox import Delivery, DeliveryState, Outbox
from jobs.webhooks.signing import webhook_secret

Answers = Callable[[str], Awaitable[Response]]
SUCCESS = Response(204, 1.0, "", None)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = stores_on(connect(sqlite_url))
    yield opened
    opened.close()


def canceled(database: Database, url: str, tenant: str = LOCAL) -> str:
    job_id = new_job_id()
    key = input_key(job_id, "wav")
    request = GenerateRequest()
    fields = {"input_key": key, "clip_seconds": 1.0, "callback_url": url, "tenant": tenant}
    database.jobs.submit(NewJob(job_id, request, **fields))
    assert database.jobs.cancel(job_id)
    return job_id


def delivery_of(database: Database, job_id: str) -> Delivery:
    (delivery,) = Outbox(database.engine).of_job(job_id)
    return delivery


def sender(database: Database, answers: Answers) -> WebhookSender:
    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        assert headers["webhook-id"]
        assert body
        return await answers(url)

    return WebhookSender(Outbox(database.engine), post, [b"key"])


async def succeed(_url: str) -> Response:
    return SUCCESS


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


def test_a_dead_endpoint_does_not_delay_others(database: Database) -> None:
    dead = [canceled(database, "https://dead.example/") for _ in range(12)]
    alive = [canceled(database, f"https://alive-{number % 4}.example/") for number in range(12)]

    async def answers(url: str) -> Response:
        if "dead" in url:
            await asyncio.sleep(3600)
        return SUCCESS

    async def send() -> None:
        webhook_sender = sender(database, answers)
        running = asyncio.create_task(webhook_sender.run())
        await until(lambda: all(delivery_of(database, job).state == "delivered" for job in alive))
        webhook_sender.close()
        await running

    asyncio.run(send())

    assert {delivery_of(database, job).state for job in dead} == {DeliveryState.PENDING}
    tries = sum(delivery_of(database, job).tries for job in dead)
    assert tries == 4  # concurrent deliveries to one host


def test_two_senders_send_each_delivery_once(database: Database) -> None:
    jobs = [canceled(database, f"https://{number % 5}.example/") for number in range(20)]
    urls: list[str] = []

    async def answers(url: str) -> Response:
        urls.append(url)
        await asyncio.sleep(0.01)
        return SUCCESS

    async def send() -> None:
        both = [sender(database, answers), sender(database, answers)]
        running = [asyncio.create_task(each.run()) for each in both]
        await until(lambda: all(delivery_of(database, job).state == "delivered" for job in jobs))
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
        return SUCCESS

    async def send() -> None:
        webhook_sender = WebhookSender(Outbox(database.engine), post, [b"key"])
        await webhook_sender.start_due()
        await webhook_sender.until_sent()

    asyncio.run(send())

    assert verified == jobs


def test_a_delivery_in_progress_at_shutdown_is_sent_by_another_sender(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.background.webhook_sender.GRACE_SECONDS", 0.05)
    job = canceled(database, "https://slow.example/")
    started = asyncio.Event()

    async def stall(_url: str) -> Response:
        started.set()
        await asyncio.sleep(3600)
        return SUCCESS

    async def shut_down() -> None:
        webhook_sender = sender(database, stall)
        running = asyncio.create_task(webhook_sender.run())
        await started.wait()
        webhook_sender.close()
        async with asyncio.timeout(30):
            await running

    async def follow() -> None:
        later = WebhookSender(
            Outbox(database.engine, clock=lambda: pending.due_at), post_success, [b"key"]
        )
        assert await later.start_due()
        await later.until_sent()

    async def post_success(url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        return SUCCESS

    asyncio.run(shut_down())
    pending = delivery_of(database, job)
    assert (pending.state, pending.tries, pending.log) == (DeliveryState.PENDING, 1, ())
    asyncio.run(follow())
    assert delivery_of(database, job).state is DeliveryState.DELIVERED


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
def test_a_failed_try_is_recorded_and_repeated(
    database: Database, answer: Response | Exception, status: int | None, sentence: str
) -> None:
    job = canceled(database, "https://a.example/")

    async def answers(_url: str) -> Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def send() -> None:
        webhook_sender = sender(database, answers)
        assert await webhook_sender.start_due()
        await webhook_sender.until_sent()

    asyncio.run(send())

    delivery = delivery_of(database, job)
    assert (delivery.state, delivery.log[0]["status"], delivery.log[0]["error"]) == (
        "pending",
        status,
        sentence,
    )


def test_410_gone_ends_the_tries(database: Database) -> None:
    job = canceled(database, "https://a.example/")

    async def gone(_url: str) -> Response:
        return Response(410, 1.0, "", None)

    async def send() -> None:
        webhook_sender = sender(database, gone)
        await webhook_sender.start_due()
        await webhook_sender.until_sent()

    asyncio.run(send())

    delivery = delivery_of(database, job)
    assert delivery.state is DeliveryState.FAILED
    assert delivery.log[0]["error"] == "The receiver answered 410 Gone: no further tries."


def test_an_unavailable_database_does_not_stop_the_sender(
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
        return SUCCESS

    async def send() -> None:
        webhook_sender = WebhookSender(outbox, post, [b"key"])
        running = asyncio.create_task(webhook_sender.run())
        await until(lambda: delivery_of(database, job).state == "delivered")
        webhook_sender.close()
        await running

    asyncio.run(send())

    assert any("cannot look" in record.message for record in caplog.records)
