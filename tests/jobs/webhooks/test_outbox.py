"""Webhook outbox: deliveries are written with the end of a job and sent until they arrive."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from jobs.database import Database
from jobs.db.engine import writing
from jobs.db.tables import deliveries
from jobs.model import LOCAL, Job, NewJob, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.webhooks.outbox import (
    LOGGED_TRIES,
    PER_HOST,
    RETRY_DELAYS,
    Delivery,
    DeliveryMissing,
    DeliveryState,
    Outbox,
    Try,
    retry_delay,
)
from tests.clock import Clock
from tests.jobs.rows import VIDEO, claim, submit

URL = "https://hooks.example/visavis?key=1"


def submit_with_callback(database: Database, url: str = URL, tenant: str = LOCAL) -> Job:
    job_id = new_job_id()
    return database.jobs.submit(
        NewJob(
            job_id,
            GenerateRequest(seed=7),
            input_key=input_key(job_id, "wav"),
            clip_seconds=2.5,
            metadata={"order": "Ü-17"},
            tenant=tenant,
            callback_url=url,
        )
    )


def test_only_the_chosen_events_are_sent(database: Database, clock: Clock) -> None:
    chosen = {"callback_url": URL, "webhook_events": ("job.failed", "job.canceled")}
    for seconds in (None, 60.0):
        job_id = new_job_id()
        request, key = GenerateRequest(seed=7), input_key(job_id, "wav")
        database.jobs.submit(
            NewJob(job_id, request, key, 2.5, cancel_after=seconds, **chosen)  # type: ignore[arg-type]
        )
    done = claim(database)
    assert database.attempts.succeed(done.id, done.attempt, [VIDEO])
    clock.advance(60)

    database.attempts.reap()

    (sent,) = database.outbox.take_due(most=10)
    event = json.loads(sent.body)
    assert (sent.type, event["data"]["state"]) == ("job.canceled", "canceled")
    assert event["data"]["error"]["code"] == "cancel_after"
    assert event["data"]["webhook_events"] == ["job.failed", "job.canceled"]


@pytest.fixture
def outbox(database: Database, clock: Clock) -> Outbox:
    return Outbox(database.engine, hold_seconds=60, clock=clock, random=lambda: 0.5)


def take(outbox: Outbox) -> Delivery:
    (delivery,) = outbox.take_due(most=10)
    return delivery


def tried(clock: Clock, status: int | None = 500, error: str | None = "No.") -> Try:
    return Try(clock(), status, 12.5, error)


def succeed(database: Database, job: Job) -> None:
    assert database.attempts.succeed(job.id, claim(database).attempt, [VIDEO])


def fail(database: Database, job: Job) -> None:
    assert database.attempts.fail(
        job.id, claim(database).attempt, "audio_damaged", "The clip is damaged."
    )


def cancel_queued(database: Database, job: Job) -> None:
    assert database.jobs.cancel(job.id)


def cancel_running(database: Database, job: Job) -> None:
    claim(database)
    assert database.jobs.cancel(job.id)


def exhaust(database: Database, job: Job) -> None:
    for _ in range(database.config.jobs.max_attempts):
        assert database.attempts.release(job.id, claim(database).attempt, "the disk is full")


def lose(database: Database, job: Job) -> None:
    clock = database.outbox._clock
    assert isinstance(clock, Clock)
    for _ in range(database.config.jobs.max_attempts):
        claim(database)
        clock.advance(100)
        database.attempts.reap()


ENDS: dict[str, tuple[Callable[[Database, Job], None], str]] = {
    "succeed": (succeed, "job.succeeded"),
    "fail": (fail, "job.failed"),
    "cancel queued": (cancel_queued, "job.canceled"),
    "cancel running": (cancel_running, "job.canceled"),
    "release": (exhaust, "job.failed"),
    "reap": (lose, "job.failed"),
}


@pytest.mark.parametrize("way", ENDS)
def test_every_end_queues_one_delivery(database: Database, outbox: Outbox, way: str) -> None:
    end, kind = ENDS[way]
    job = submit_with_callback(database)

    assert outbox.of_job(job.id) == []
    end(database, job)

    ended = database.jobs.get(job.id)
    (delivery,) = outbox.of_job(job.id)
    event = json.loads(delivery.body)
    assert (delivery.type, delivery.url, delivery.host) == (kind, URL, "hooks.example")
    assert (delivery.state, delivery.tries, delivery.log) == (DeliveryState.PENDING, 0, ())
    assert set(event) == {"type", "timestamp", "data"}
    assert (event["type"], event["data"]["id"]) == (kind, job.id)
    assert event["data"]["state"] == ended.state == kind.removeprefix("job.")
    assert event["data"]["metadata"] == {"order": "Ü-17"}
    assert event["data"]["request"]["seed"] == 7
    assert datetime.fromisoformat(event["timestamp"]) == ended.finished_at
    if ended.state is State.FAILED:
        assert event["data"]["error"] == {
            "code": ended.error_code,
            "detail": ended.error_detail,
        }


def test_a_job_without_a_callback_url_has_no_delivery(database: Database, outbox: Outbox) -> None:
    job = submit(database)
    succeed(database, job)

    assert outbox.of_job(job.id) == []
    assert outbox.take_due(most=10) == []


def test_a_refused_write_queues_no_delivery(database: Database, outbox: Outbox) -> None:
    job = submit_with_callback(database)
    attempt = claim(database).attempt
    assert database.jobs.cancel(job.id)

    assert not database.attempts.succeed(job.id, attempt, [VIDEO])
    assert not database.attempts.fail(job.id, attempt, "late", "Too late.")
    assert not database.jobs.cancel(job.id)

    assert [delivery.type for delivery in outbox.of_job(job.id)] == ["job.canceled"]


def test_the_end_and_its_event_are_one_transaction(
    database: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the event cannot be written, the job does not end."""
    job = submit_with_callback(database)
    attempt = claim(database).attempt

    def fail_now(*_: object) -> None:
        raise OSError("the machine is gone")

    with monkeypatch.context() as broken:
        broken.setattr("jobs.webhooks.outbox.event_body", fail_now)
        with pytest.raises(OSError, match="gone"):
            database.attempts.succeed(job.id, attempt, [VIDEO])
    assert database.jobs.get(job.id).state is State.RUNNING
    assert outbox.of_job(job.id) == []

    assert database.attempts.succeed(job.id, attempt, [VIDEO])
    assert len(outbox.of_job(job.id)) == 1


def test_the_next_end_of_a_retried_job_queues_a_delivery(
    database: Database, outbox: Outbox
) -> None:
    job = submit_with_callback(database)
    fail(database, job)
    assert database.jobs.retry(job.id)
    succeed(database, job)

    sent = outbox.of_job(job.id)

    assert [delivery.type for delivery in sent] == ["job.failed", "job.succeeded"]
    assert len({delivery.id for delivery in sent}) == 2
    assert json.loads(sent[0].body)["data"]["state"] == "failed"


def test_the_outbox_of_a_deleted_job_is_empty(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    job = submit_with_callback(database)
    succeed(database, job)
    delivery = take(outbox)

    database.jobs.delete(job.id)

    assert outbox.of_job(job.id) == []
    assert not outbox.record(delivery, tried(clock, 200, None))


def test_a_delivered_webhook_is_not_sent_again(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_with_callback(database))
    delivery = take(outbox)

    assert outbox.record(delivery, tried(clock, 204, None))

    clock.advance(1_000_000)
    assert outbox.take_due(most=10) == []
    (stored,) = outbox.of_job(job.id)
    assert (stored.state, stored.due_at) == (DeliveryState.DELIVERED, None)
    assert stored.log[0]["status"] == 204
    assert stored.log[0]["error"] is None
    assert stored.log[0]["milliseconds"] == 12.5


def test_a_failed_delivery_is_retried_for_a_day_and_then_given_up(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_with_callback(database))
    began, bodies = clock.now, set()

    for delay in RETRY_DELAYS:
        delivery = take(outbox)
        bodies.add((delivery.id, delivery.body))
        assert outbox.record(delivery, tried(clock))
        clock.advance(delay - 1)
        assert outbox.take_due(most=10) == []
        clock.advance(2)
    assert outbox.record(take(outbox), tried(clock, None, "Nobody there."))

    assert timedelta(hours=20) < clock.now - began < timedelta(hours=28)
    clock.advance(1_000_000)
    assert outbox.take_due(most=10) == []
    (stored,) = outbox.of_job(job.id)
    assert (stored.state, stored.tries, stored.due_at) == (DeliveryState.FAILED, 9, None)
    assert [entry["error"] for entry in stored.log] == ["No."] * 8 + ["Nobody there."]
    assert len(bodies) == 1  # every try sends the same body


@pytest.mark.parametrize(("fraction", "seconds"), [(0.0, 8), (0.5, 10), (1.0, 12)])
def test_the_retry_delay_has_jitter(fraction: float, seconds: int) -> None:
    now = datetime(2026, 5, 4, tzinfo=UTC)

    assert retry_delay(8, random=fraction, retry_after=None, now=now) == seconds


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120),
        ("3", 10),  # not earlier than the own delay
        ("9" * 5000, 43_200),  # not later than the longest delay
        ("Mon, 04 May 2026 12:05:00 GMT", 300),
        ("Mon, 04 May 2020 12:05:00 GMT", 10),
        ("Mon, 04 May 9999 12:05:00 GMT", 43_200),
        ("Mon, 04 May 99999 12:05:00 GMT", 10),
        ("Mon, 04 May 2026 12:05:00 -0000", 10),  # a date without a zone
        ("soon", 10),
        ("-5", 10),
        ("²", 10),
        ("", 10),
    ],
)
def test_retry_after_extends_the_retry_delay(retry_after: str, seconds: int) -> None:
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)

    assert retry_delay(8, random=0.5, retry_after=retry_after, now=now) == seconds


def test_a_410_response_ends_the_delivery(database: Database, outbox: Outbox, clock: Clock) -> None:
    succeed(database, job := submit_with_callback(database))

    outbox.record(take(outbox), tried(clock, 410, "Gone."))

    (stored,) = outbox.of_job(job.id)
    assert (stored.state, stored.due_at) == (DeliveryState.FAILED, None)


def test_a_delivery_is_due_after_retry_after(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_with_callback(database))

    outbox.record(take(outbox), tried(clock, 503), retry_after="120")

    (stored,) = outbox.of_job(job.id)
    assert stored.due_at is not None
    assert round((stored.due_at - clock.now).total_seconds()) == 120


def test_another_sender_takes_the_delivery_of_a_dead_one(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_with_callback(database))
    lost = take(outbox)
    assert outbox.take_due(most=10) == []

    clock.advance(61)
    found = take(outbox)

    assert (found.id, found.tries) == (lost.id, lost.tries + 1)
    assert not outbox.record(lost, tried(clock))  # the first sender was only suspended
    assert outbox.record(found, tried(clock, 200, None))
    (stored,) = outbox.of_job(job.id)
    assert (stored.state, len(stored.log)) == (DeliveryState.DELIVERED, 1)


def test_a_delivery_that_kills_every_sender_is_given_up(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_with_callback(database))
    for _ in range(len(RETRY_DELAYS) + 1):
        take(outbox)
        clock.advance(61)

    assert outbox.take_due(most=10) == []
    assert outbox.of_job(job.id)[0].state is DeliveryState.FAILED


def test_many_senders_take_each_delivery_once(database: Database, outbox: Outbox) -> None:
    for number in range(24):
        succeed(database, submit_with_callback(database, f"https://{number % 8}.example/"))

    def take_all(_: int) -> list[str]:
        taken: list[str] = []
        while some := outbox.take_due(most=3):
            taken += [delivery.id for delivery in some]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [each for some in pool.map(take_all, range(4)) for each in some]

    assert len(taken) == len(set(taken)) == 24


def test_a_slow_host_occupies_few_slots(database: Database, outbox: Outbox) -> None:
    for _ in range(PER_HOST + 3):
        succeed(database, submit_with_callback(database, "https://dead.example/"))
    succeed(database, submit_with_callback(database, "https://alive.example:8443/"))

    taken = outbox.take_due(most=100)
    dead = [delivery for delivery in taken if delivery.host == "dead.example"]

    assert (len(dead), len(taken)) == (PER_HOST, PER_HOST + 1)
    assert outbox.take_due(most=100, busy=taken) == []
    assert len(outbox.take_due(most=100, busy=dead[1:])) == 1
    assert outbox.take_due(most=0) == []


def test_a_tenant_with_slow_hosts_leaves_slots_for_others(
    database: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.webhooks.outbox.PER_TENANT", 3)
    for number in range(5):
        assert database.jobs.cancel(
            submit_with_callback(database, f"https://dead-{number}.example/").id
        )
    assert database.jobs.cancel(
        submit_with_callback(database, "https://alive.example/", tenant="rival").id
    )

    taken = outbox.take_due(most=100)

    assert [delivery.tenant for delivery in taken] == ["local"] * 3 + ["rival"]
    assert outbox.take_due(most=100, busy=taken) == []
    assert len(outbox.take_due(most=100, busy=taken[1:])) == 1


@pytest.mark.parametrize("status", [200, 410, 500])
def test_redeliver_sends_a_delivery_again(
    database: Database, outbox: Outbox, clock: Clock, status: int
) -> None:
    succeed(database, job := submit_with_callback(database))
    first = take(outbox)
    outbox.record(first, tried(clock, status, None if status == 200 else "No."))

    again = outbox.redeliver(job.id, first.id)

    assert (again.state, again.body, len(again.log)) == (DeliveryState.PENDING, first.body, 1)
    second = take(outbox)
    assert (second.id, second.tries) == (first.id, 2)
    outbox.record(second, tried(clock))
    (stored,) = outbox.of_job(job.id)
    assert stored.due_at is not None
    assert (
        round((stored.due_at - clock.now).total_seconds()) == RETRY_DELAYS[0]
    )  # as for a new delivery


def test_redeliver_rejects_deliveries_of_other_jobs(database: Database, outbox: Outbox) -> None:
    succeed(database, submit_with_callback(database))
    delivery = take(outbox)
    other = submit_with_callback(database)

    for job_id, delivery_id in ((other.id, delivery.id), (delivery.job_id, "x")):
        with pytest.raises(DeliveryMissing):
            outbox.redeliver(job_id, delivery_id)


def test_the_log_keeps_the_latest_tries(database: Database, outbox: Outbox, clock: Clock) -> None:
    succeed(database, job := submit_with_callback(database))
    for number in range(3):
        with writing(database.engine) as connection:
            log = [{"status": status} for status in range(LOGGED_TRIES)]
            soon = {"due_at": clock.now, "log": log}
            connection.execute(sa.update(deliveries).values(soon))
        outbox.record(take(outbox), tried(clock, number))

    (stored,) = outbox.of_job(job.id)

    assert [entry["status"] for entry in stored.log] == [*range(1, LOGGED_TRIES), 2]
