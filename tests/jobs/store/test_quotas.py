"""Quotas: checked in the transaction of the job, so concurrent requests cannot exceed them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from jobs.database import Database, StoreConfig, stores_on
from jobs.db.engine import connect
from jobs.model import Job, NewJob, Output, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.job_rows import JobLimits
from jobs.store.quotas import Quota, QuotaExceeded, TenantStore
from tests.clock import Clock
from tests.jobs.rows import claim

QUOTA = Quota(jobs_in_flight=3, seconds_a_day=100, stored_bytes=1000)


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    opened = stores_on(connect(database_url), StoreConfig(jobs=JobLimits(quota=QUOTA)), clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def tenants(database: Database) -> TenantStore:
    return TenantStore(database.engine, QUOTA)


def send(database: Database, tenant: str = "acme", *, seconds: float = 1.0, size: int = 0) -> Job:
    job_id = new_job_id()
    return database.jobs.submit(
        NewJob(
            job_id,
            GenerateRequest(),
            input_key=input_key(job_id, "wav"),
            clip_seconds=seconds,
            input_bytes=size,
            tenant=tenant,
        )
    )


def refused(database: Database, tenant: str = "acme", **job: float) -> QuotaExceeded:
    before = database.jobs.page().jobs
    with pytest.raises(QuotaExceeded) as caught:
        send(database, tenant, **job)
    assert database.jobs.page().jobs == before  # everything was rolled back
    return caught.value


def end(database: Database, *, size: int = 0) -> Job:
    job = claim(database)
    assert database.attempts.succeed(
        job.id, job.attempt, [Output("take-1.mp4", "k", "video/mp4", size)]
    )
    return job


def test_jobs_in_flight_are_counted_until_they_end(database: Database) -> None:
    sent = [send(database) for _ in range(3)]
    claim(database)

    error = refused(database)

    assert (error.what, error.limit, error.used) == ("jobs_in_flight", 3, 3)
    send(database, "rival")  # has its own quota
    database.jobs.cancel(sent[2].id)
    send(database)
    refused(database)


def test_a_retry_counts_against_the_quota(database: Database) -> None:
    job = send(database)
    database.jobs.cancel(job.id)
    others = [send(database) for _ in range(3)]

    with pytest.raises(QuotaExceeded, match="jobs_in_flight"):
        database.jobs.retry(job.id)

    assert database.jobs.get(job.id).state == "canceled"
    database.jobs.cancel(others[0].id)
    assert database.jobs.retry(job.id)


def test_seconds_are_counted_until_midnight(database: Database, clock: Clock) -> None:
    job = send(database, seconds=60)
    database.jobs.delete(job.id)  # accepted seconds stay counted

    error = refused(database, seconds=41)

    assert (error.what, error.used, error.requested) == ("seconds_a_day", 60, 41)
    assert error.again_in is not None
    assert timedelta(hours=11) < error.again_in < timedelta(hours=12)  # it is noon
    send(database, seconds=40)
    clock.advance(error.again_in.total_seconds() + 1)
    send(database, seconds=100)


def test_a_clip_longer_than_the_daily_quota_has_no_retry_time(database: Database) -> None:
    assert refused(database, seconds=101).again_in is None


def test_stored_bytes_are_counted_until_they_are_deleted(database: Database) -> None:
    send(database, size=300)
    job = end(database, size=400)

    error = refused(database, size=301)

    assert (error.what, error.used, error.requested) == ("stored_bytes", 700, 301)
    send(database, size=300)
    database.jobs.delete(job.id)
    send(database, size=301)


@pytest.mark.parametrize(
    "own", [{"jobs_in_flight": 4}, {"seconds_a_day": 4.0}, {"stored_bytes": 4}]
)
def test_concurrent_requests_do_not_exceed_the_quota(
    database: Database, tenants: TenantStore, own: dict[str, float]
) -> None:
    tenants.set_own("acme", {"jobs_in_flight": 0, "seconds_a_day": 0, "stored_bytes": 0} | own)
    start = threading.Barrier(8)

    def race(_: int) -> bool:
        start.wait()
        try:
            send(database, seconds=1, size=1)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 4
    assert len(database.jobs.page().jobs) == 4


def test_own_values_apply_to_one_tenant(
    database: Database, tenants: TenantStore, clock: Clock
) -> None:
    tenants.set_own("acme", {"jobs_in_flight": 1})
    send(database, seconds=5, size=7)
    refused(database)
    send(database, "rival")
    send(database, "rival")

    acme, rival = tenants.all(clock().date())

    assert acme.quota == Quota(jobs_in_flight=1, seconds_a_day=100, stored_bytes=1000)
    assert (acme.own, rival.own, rival.quota) == ({"jobs_in_flight": 1}, {}, QUOTA)
    assert (acme.usage.jobs_in_flight, acme.usage.seconds_today, acme.usage.stored_bytes) == (
        1,
        5,
        7,
    )
    tenants.set_own("acme", {"jobs_in_flight": None})
    send(database)


def test_expired_bytes_are_not_counted(database: Database, clock: Clock) -> None:
    send(database, size=300)
    end(database, size=600)
    refused(database, size=200)
    clock.advance(60)

    database.retention.expire_outputs(timedelta(seconds=30))
    send(database, size=700)
    refused(database, size=1)
    database.retention.expire_inputs(timedelta(seconds=30))
    send(database, size=300)
