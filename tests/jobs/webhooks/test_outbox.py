"""The outbox: what has to be told is written with the end of the job, and told until it arrives."""

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


def submit_told(database: Database, url: str = URL, tenant: str = LOCAL) -> Job:
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
def test_every_end_is_told_once(database: Database, outbox: Outbox, way: str) -> None:
    end, kind = ENDS[way]
    job = submit_told(database)

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


def test_a_job_that_nobody_wants_to_hear_of_is_not_told(database: Database, outbox: Outbox) -> None:
    job = submit(database)
    succeed(database, job)

    assert outbox.of_job(job.id) == []
    assert outbox.take_due(most=10) == []


def test_a_refused_write_tells_nothing(database: Database, outbox: Outbox) -> None:
    job = submit_told(database)
    attempt = claim(database).attempt
    assert database.jobs.cancel(job.id)

    assert not database.attempts.succeed(job.id, attempt, [VIDEO])
    assert not database.attempts.fail(job.id, attempt, "late", "Too late.")
    assert not database.jobs.cancel(job.id)

    assert [delivery.type for delivery in outbox.of_job(job.id)] == ["job.canceled"]


def test_the_end_and_its_event_are_one_transaction(
    database: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the event cannot be written, the job has not ended; and the other way round."""
    job = submit_told(database)
    attempt = claim(database).attempt

    def break_off(*_: object) -> None:
        raise OSError("the machine is gone")

    with monkeypatch.context() as broken:
        broken.setattr("jobs.webhooks.outbox.event_body", break_off)
        with pytest.raises(OSError, match="gone"):
            database.attempts.succeed(job.id, attempt, [VIDEO])
    assert database.jobs.get(job.id).state is State.RUNNING
    assert outbox.of_job(job.id) == []

    assert database.attempts.succeed(job.id, attempt, [VIDEO])
    assert len(outbox.of_job(job.id)) == 1


def test_a_retried_job_tells_its_next_end_too(database: Database, outbox: Outbox) -> None:
    job = submit_told(database)
    fail(database, job)
    assert database.jobs.retry(job.id)
    succeed(database, job)

    told = outbox.of_job(job.id)

    assert [delivery.type for delivery in told] == ["job.failed", "job.succeeded"]
    assert len({delivery.id for delivery in told}) == 2
    assert json.loads(told[0].body)["data"]["state"] == "failed"


def test_the_outbox_of_a_deleted_job_is_empty(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    job = submit_told(database)
    succeed(database, job)
    delivery = take(outbox)

    database.jobs.delete(job.id)

    assert outbox.of_job(job.id) == []
    assert not outbox.record(delivery, tried(clock, 200, None))


def test_what_has_arrived_is_not_sent_again(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_told(database))
    delivery = take(outbox)

    assert outbox.record(delivery, tried(clock, 204, None))

    clock.advance(1_000_000)
    assert outbox.take_due(most=10) == []
    (kept,) = outbox.of_job(job.id)
    assert (kept.state, kept.due_at) == (DeliveryState.DELIVERED, None)
    assert kept.log[0]["status"] == 204
    assert kept.log[0]["error"] is None
    assert kept.log[0]["milliseconds"] == 12.5


def test_what_fails_is_sent_again_over_a_day_and_then_given_up(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_told(database))
    began, bodies = clock.now, set()

    for pause in RETRY_DELAYS:
        delivery = take(outbox)
        bodies.add((delivery.id, delivery.body))
        assert outbox.record(delivery, tried(clock))
        clock.advance(pause - 1)
        assert outbox.take_due(most=10) == []
        clock.advance(2)
    assert outbox.record(take(outbox), tried(clock, None, "Nobody there."))

    assert timedelta(hours=20) < clock.now - began < timedelta(hours=28)
    clock.advance(1_000_000)
    assert outbox.take_due(most=10) == []
    (kept,) = outbox.of_job(job.id)
    assert (kept.state, kept.tries, kept.due_at) == (DeliveryState.FAILED, 9, None)
    assert [entry["error"] for entry in kept.log] == ["No."] * 8 + ["Nobody there."]
    assert len(bodies) == 1  # every try says the same


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 8), (0.5, 10), (1.0, 12)])
def test_those_that_fail_together_come_back_apart(drawn: float, seconds: int) -> None:
    now = datetime(2026, 5, 4, tzinfo=UTC)

    assert retry_delay(8, random=drawn, retry_after=None, now=now) == seconds


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        ("120", 120),
        ("3", 10),  # no sooner than we would
        ("9" * 5000, 43_200),  # no later than our longest pause
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
def test_a_receiver_may_ask_for_more_time(wish: str, seconds: int) -> None:
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)

    assert retry_delay(8, random=0.5, retry_after=wish, now=now) == seconds


def test_a_receiver_that_is_gone_is_not_asked_again(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_told(database))

    outbox.record(take(outbox), tried(clock, 410, "Gone."))

    (kept,) = outbox.of_job(job.id)
    assert (kept.state, kept.due_at) == (DeliveryState.FAILED, None)


def test_the_wish_of_a_receiver_is_kept_to(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_told(database))

    outbox.record(take(outbox), tried(clock, 503), retry_after="120")

    (kept,) = outbox.of_job(job.id)
    assert kept.due_at is not None
    assert round((kept.due_at - clock.now).total_seconds()) == 120


def test_a_sender_that_dies_is_followed_by_another(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_told(database))
    lost = take(outbox)
    assert outbox.take_due(most=10) == []

    clock.advance(61)
    found = take(outbox)

    assert (found.id, found.tries) == (lost.id, lost.tries + 1)
    assert not outbox.record(lost, tried(clock))  # it was only suspended: too late
    assert outbox.record(found, tried(clock, 200, None))
    (kept,) = outbox.of_job(job.id)
    assert (kept.state, len(kept.log)) == (DeliveryState.DELIVERED, 1)


def test_one_that_kills_every_sender_is_given_up(
    database: Database, outbox: Outbox, clock: Clock
) -> None:
    succeed(database, job := submit_told(database))
    for _ in range(len(RETRY_DELAYS) + 1):
        take(outbox)
        clock.advance(61)

    assert outbox.take_due(most=10) == []
    assert outbox.of_job(job.id)[0].state is DeliveryState.FAILED


def test_many_senders_take_each_delivery_once(database: Database, outbox: Outbox) -> None:
    for number in range(24):
        succeed(database, submit_told(database, f"https://{number % 8}.example/"))

    def take_all(_: int) -> list[str]:
        taken: list[str] = []
        while some := outbox.take_due(most=3):
            taken += [delivery.id for delivery in some]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [each for some in pool.map(take_all, range(4)) for each in some]

    assert len(taken) == len(set(taken)) == 24


def test_a_host_that_stalls_takes_few_places(database: Database, outbox: Outbox) -> None:
    for _ in range(PER_HOST + 3):
        succeed(database, submit_told(database, "https://dead.example/"))
    succeed(database, submit_told(database, "https://alive.example:8443/"))

    taken = outbox.take_due(most=100)
    dead = [delivery for delivery in taken if delivery.host == "dead.example"]

    assert (len(dead), len(taken)) == (PER_HOST, PER_HOST + 1)
    assert outbox.take_due(most=100, busy=taken) == []
    assert len(outbox.take_due(most=100, busy=dead[1:])) == 1
    assert outbox.take_due(most=0) == []


def test_a_tenant_whose_hosts_all_stall_leaves_places_for_others(
    database: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.webhooks.outbox.PER_TENANT", 3)
    for number in range(5):
        assert database.jobs.cancel(submit_told(database, f"https://dead-{number}.example/").id)
    assert database.jobs.cancel(submit_told(database, "https://alive.example/", tenant="rival").id)

    taken = outbox.take_due(most=100)

    assert [delivery.tenant for delivery in taken] == ["local"] * 3 + ["rival"]
    assert outbox.take_due(most=100, busy=taken) == []
    assert len(outbox.take_due(most=100, busy=taken[1:])) == 1


@pytest.mark.parametrize("status", [200, 410, 500])
def test_it_is_sent_again_when_its_owner_asks(
    database: Database, outbox: Outbox, clock: Clock, status: int
) -> None:
    succeed(database, job := submit_told(database))
    first = take(outbox)
    outbox.record(first, tried(clock, status, None if status == 200 else "No."))

    again = outbox.redeliver(job.id, first.id)

    assert (again.state, again.body, len(again.log)) == (DeliveryState.PENDING, first.body, 1)
    second = take(outbox)
    assert (second.id, second.tries) == (first.id, 2)
    outbox.record(second, tried(clock))
    (kept,) = outbox.of_job(job.id)
    assert kept.due_at is not None
    assert round((kept.due_at - clock.now).total_seconds()) == RETRY_DELAYS[0]  # as for a new one


def test_only_a_delivery_of_this_job_is_sent_again(database: Database, outbox: Outbox) -> None:
    succeed(database, submit_told(database))
    delivery = take(outbox)
    other = submit_told(database)

    for job_id, delivery_id in ((other.id, delivery.id), (delivery.job_id, "x")):
        with pytest.raises(DeliveryMissing):
            outbox.redeliver(job_id, delivery_id)


def test_the_log_keeps_the_latest_tries(database: Database, outbox: Outbox, clock: Clock) -> None:
    succeed(database, job := submit_told(database))
    for number in range(3):
        with writing(database.engine) as connection:
            log = [{"status": status} for status in range(LOGGED_TRIES)]
            soon = {"due_at": clock.now, "log": log}
            connection.execute(sa.update(deliveries).values(soon))
        outbox.record(take(outbox), tried(clock, number))

    (kept,) = outbox.of_job(job.id)

    assert [entry["status"] for entry in kept.log] == [*range(1, LOGGED_TRIES), 2]
