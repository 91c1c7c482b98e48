"""Quotas: checked where a job is accepted, so that no two requests take the last place."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from jobs.db.engine import connect
from jobs.model import Job, NewJob, Output, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.jobs import Store, StoreConfig
from jobs.store.quotas import Quota, QuotaExceeded, Tenants
from tests.clock import Clock
from tests.jobs.rows import claim

QUOTA = Quota(jobs_in_flight=3, seconds_a_day=100, stored_bytes=1000)


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    opened = Store(connect(database_url), StoreConfig(quota=QUOTA), clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def tenants(store: Store) -> Tenants:
    return Tenants(store.engine, QUOTA)


def send(store: Store, tenant: str = "acme", *, seconds: float = 1.0, size: int = 0) -> Job:
    job_id = new_job_id()
    return store.submit(
        NewJob(
            job_id,
            GenerateRequest(),
            input_key=input_key(job_id, "wav"),
            clip_seconds=seconds,
            input_bytes=size,
            tenant=tenant,
        )
    )


def refused(store: Store, tenant: str = "acme", **asked: float) -> QuotaExceeded:
    before = store.recent()
    with pytest.raises(QuotaExceeded) as caught:
        send(store, tenant, **asked)
    assert store.recent() == before  # it left no trace
    return caught.value


def end(store: Store, *, size: int = 0) -> Job:
    job = claim(store)
    assert store.succeed(job.id, job.attempt, [Output("take-1.mp4", "k", "video/mp4", size)])
    return job


def test_jobs_in_flight_are_counted_until_they_end(store: Store) -> None:
    sent = [send(store) for _ in range(3)]
    claim(store)

    refusal = refused(store)

    assert (refusal.what, refusal.limit, refusal.used) == ("jobs_in_flight", 3, 3)
    send(store, "rival")  # has places of its own
    store.cancel(sent[2].id)
    send(store)
    refused(store)


def test_a_retry_needs_a_place_too(store: Store) -> None:
    job = send(store)
    store.cancel(job.id)
    others = [send(store) for _ in range(3)]

    with pytest.raises(QuotaExceeded, match="jobs_in_flight"):
        store.retry(job.id)

    assert store.get(job.id).state == "canceled"
    store.cancel(others[0].id)
    assert store.retry(job.id)


def test_seconds_are_counted_until_midnight(store: Store, clock: Clock) -> None:
    job = send(store, seconds=60)
    store.delete(job.id)  # gives nothing back: they were accepted

    refusal = refused(store, seconds=41)

    assert (refusal.what, refusal.used, refusal.asked) == ("seconds_a_day", 60, 41)
    assert refusal.again_in is not None
    assert timedelta(hours=11) < refusal.again_in < timedelta(hours=12)  # it is noon
    send(store, seconds=40)
    clock.advance(refusal.again_in.total_seconds() + 1)
    send(store, seconds=100)


def test_a_clip_longer_than_any_day_is_not_put_off(store: Store) -> None:
    assert refused(store, seconds=101).again_in is None


def test_bytes_are_counted_until_they_are_deleted(store: Store) -> None:
    send(store, size=300)
    job = end(store, size=400)

    refusal = refused(store, size=301)

    assert (refusal.what, refusal.used, refusal.asked) == ("stored_bytes", 700, 301)
    send(store, size=300)
    store.delete(job.id)
    send(store, size=301)


@pytest.mark.parametrize(
    "asked", [{"jobs_in_flight": 4}, {"seconds_a_day": 4.0}, {"stored_bytes": 4}]
)
def test_requests_that_race_do_not_share_the_last_place(
    store: Store, tenants: Tenants, asked: dict[str, float]
) -> None:
    tenants.set_own("acme", {"jobs_in_flight": 0, "seconds_a_day": 0, "stored_bytes": 0} | asked)
    start = threading.Barrier(8)

    def race(_: int) -> bool:
        start.wait()
        try:
            send(store, seconds=1, size=1)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 4
    assert len(store.recent()) == 4


def test_what_is_set_for_one_holds_for_one(store: Store, tenants: Tenants, clock: Clock) -> None:
    tenants.set_own("acme", {"jobs_in_flight": 1})
    send(store, seconds=5, size=7)
    refused(store)
    send(store, "rival")
    send(store, "rival")

    acme, rival = tenants.all(clock().date())

    assert acme.quota == Quota(jobs_in_flight=1, seconds_a_day=100, stored_bytes=1000)
    assert (acme.own, rival.own, rival.quota) == ({"jobs_in_flight": 1}, {}, QUOTA)
    assert (acme.usage.jobs_in_flight, acme.usage.seconds_today, acme.usage.stored_bytes) == (
        1,
        5,
        7,
    )
    tenants.set_own("acme", {"jobs_in_flight": None})
    send(store)


def test_what_has_expired_is_no_longer_counted(store: Store, clock: Clock) -> None:
    send(store, size=300)
    end(store, size=600)
    refused(store, size=200)
    clock.advance(60)

    store.expire_outputs(timedelta(seconds=30))
    send(store, size=700)
    refused(store, size=1)
    store.expire_inputs(timedelta(seconds=30))
    send(store, size=300)
