"""Jobs that do not end within `cancel_after` are canceled, by the reaper or at a worker's write."""

import pytest

from jobs.database import Database, StoreConfig, stores_on
from jobs.db.engine import connect
from jobs.model import JobError, State
from jobs.store.job_rows import JobLimits
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, VIDEO, claim, submit

REASON = JobError(
    "cancel_after",
    "The job did not end within the 60 s of cancel_after; retry it, or send it with more time.",
)


def test_the_reaper_cancels_queued_and_running_jobs_at_their_time(
    database: Database, clock: Clock
) -> None:
    running = submit(database, cancel_after=60)
    claim(database)
    queued, patient = submit(database, cancel_after=60), submit(database)
    later = submit(database, cancel_after=61)
    clock.advance(60)
    database.attempts.renew(running.id, 1)

    database.attempts.reap()

    for job in (running, queued):
        ended = database.jobs.get(job.id)
        assert (ended.state, ended.error) == (State.CANCELED, REASON)
        assert ended.cancel_at is not None
        assert ended.finished_at is not None
        assert ended.finished_at >= ended.cancel_at
    assert {database.jobs.get(each.id).state for each in (patient, later)} == {State.QUEUED}


def test_the_time_survives_a_restart(database: Database, database_url: str, clock: Clock) -> None:
    job = submit(database, cancel_after=60)
    database.close()
    clock.advance(61)
    config = StoreConfig(lease_seconds=15, wake_seconds=10, jobs=JobLimits(max_attempts=3))
    other = stores_on(connect(database_url), config, clock=clock)

    other.attempts.reap()

    assert other.jobs.get(job.id).error == REASON
    other.close()


@pytest.mark.parametrize("name", [name for name in STALE_WRITES if name != "release"])
def test_a_write_after_the_time_cancels_the_job(
    database: Database, clock: Clock, name: str
) -> None:
    submit(database, cancel_after=60)
    job = claim(database)
    clock.advance(60)

    assert not STALE_WRITES[name](database, job.id, job.attempt)

    ended = database.jobs.get(job.id)
    assert (ended.state, ended.error, ended.outputs) == (State.CANCELED, REASON, ())


def test_a_job_that_ends_in_time_succeeds(database: Database, clock: Clock) -> None:
    submit(database, cancel_after=60)
    job = claim(database)
    clock.advance(59)

    assert database.attempts.succeed(job.id, job.attempt, [VIDEO])
    clock.advance(2)
    database.attempts.reap()

    assert database.jobs.get(job.id).state is State.SUCCEEDED


def test_a_late_job_is_canceled_instead_of_claimed(database: Database, clock: Clock) -> None:
    late = submit(database, cancel_after=60)
    clock.advance(60)
    job = submit(database, cancel_after=60)

    assert claim(database).id == job.id

    assert database.jobs.get(late.id).error == REASON


def test_a_retry_has_the_whole_time_again(database: Database, clock: Clock) -> None:
    job = submit(database, cancel_after=60)
    clock.advance(60)
    database.attempts.reap()

    assert database.jobs.retry(job.id)

    clock.advance(59)
    database.attempts.reap()
    again = database.jobs.get(job.id)
    assert (again.state, again.error) == (State.QUEUED, None)
    clock.advance(1)
    database.attempts.reap()
    assert database.jobs.get(job.id).error == REASON


def test_a_job_that_its_owner_cancels_has_no_error(database: Database, clock: Clock) -> None:
    job = submit(database, cancel_after=60)
    claim(database)
    database.attempts.release(job.id, 1, "the worker stopped")
    assert database.jobs.cancel(job.id)
    clock.advance(60)

    database.attempts.reap()

    assert database.jobs.get(job.id).error is None
