"""Retries: the same row with its queue position, motion and attempt count."""

import pytest

from jobs.database import Database
from jobs.model import State
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, VIDEO, claim, submit


def failed(database: Database) -> str:
    submit(database)
    job = claim(database)
    database.attempts.record_motion(job.id, 1, motion_key="jobs/x/motion.npz", digest="0" * 64)
    assert database.attempts.fail(job.id, 1, "clip_missing", "The clip is gone.")
    return job.id


def test_a_failed_job_is_queued_again_with_its_motion(database: Database) -> None:
    job_id = failed(database)

    assert database.jobs.retry(job_id)

    job = database.jobs.get(job_id)
    assert (job.state, job.stage, job.progress) == (State.QUEUED, "queued", 0.0)
    assert (job.error_code, job.error_detail, job.finished_at) == (None, None, None)
    assert job.motion_key == "jobs/x/motion.npz"
    assert claim(database).attempt == 2


def test_a_retry_has_as_many_attempts_as_a_new_job(database: Database, clock: Clock) -> None:
    job_id = failed(database)
    database.jobs.retry(job_id)

    for attempt in (2, 3, 4):
        assert database.jobs.get(job_id).state is State.QUEUED
        assert claim(database).attempt == attempt
        clock.advance(16)
        database.attempts.reap()

    assert database.jobs.get(job_id).error_code == "attempts_exhausted"


def test_a_retried_job_has_its_old_queue_position(database: Database) -> None:
    first, second = submit(database), submit(database)
    database.jobs.cancel(first.id)

    assert database.jobs.retry(first.id)

    assert database.jobs.position(first.id) == 1
    assert database.jobs.position(second.id) == 2
    assert database.attempts.reap() == []  # the caller of retry announces it


@pytest.mark.parametrize("name", STALE_WRITES)
def test_a_worker_that_is_still_stopping_cannot_write(database: Database, name: str) -> None:
    submit(database)
    old = claim(database)
    database.jobs.cancel(old.id)
    database.jobs.retry(old.id)
    waiting = database.jobs.get(old.id)

    assert not STALE_WRITES[name](database, old.id, old.attempt)
    assert database.jobs.get(old.id) == waiting
    new = claim(database)
    assert not STALE_WRITES[name](database, old.id, old.attempt)
    assert database.jobs.get(old.id) == new


def test_jobs_in_other_states_are_not_retried(database: Database) -> None:
    done = submit(database).id
    claim(database)
    database.attempts.succeed(done, 1, [VIDEO])
    running = submit(database).id
    claim(database)
    queued = submit(database).id

    for job_id in (done, running, queued, "nobody"):
        assert not database.jobs.retry(job_id)

    assert database.jobs.get(done).outputs == (VIDEO,)
    assert database.jobs.get(running).state is State.RUNNING
