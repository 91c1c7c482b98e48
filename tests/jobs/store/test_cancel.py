"""Cancellation: one write, after which the attempt of the job cannot write."""

import pytest

from jobs.database import Database
from jobs.model import State
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, VIDEO, claim, submit


def test_a_queued_job_is_canceled_and_never_claimed(database: Database) -> None:
    job = submit(database)

    assert database.jobs.cancel(job.id)

    ended = database.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (State.CANCELED, 0)
    assert ended.finished_at is not None
    assert database.attempts.claim("worker-1") is None
    assert database.jobs.position(job.id) is None


@pytest.mark.parametrize("name", STALE_WRITES)
def test_the_worker_of_a_canceled_job_cannot_write(database: Database, name: str) -> None:
    submit(database)
    job = claim(database)
    assert database.jobs.cancel(job.id)
    ended = database.jobs.get(job.id)

    assert not STALE_WRITES[name](database, job.id, job.attempt)

    assert database.jobs.get(job.id) == ended
    assert (ended.state, ended.outputs) == (State.CANCELED, ())


def test_a_job_is_canceled_once(database: Database) -> None:
    job = submit(database)
    assert database.jobs.cancel(job.id)
    ended = database.jobs.get(job.id)

    assert not database.jobs.cancel(job.id)
    assert not database.jobs.cancel("nobody")

    assert database.jobs.get(job.id) == ended


def test_a_succeeded_job_cannot_be_canceled(database: Database) -> None:
    submit(database)
    job = claim(database)
    database.attempts.succeed(job.id, job.attempt, [VIDEO])

    assert not database.jobs.cancel(job.id)

    assert database.jobs.get(job.id).state is State.SUCCEEDED


def test_the_reaper_ignores_canceled_jobs(database: Database, clock: Clock) -> None:
    queued, running = submit(database), submit(database)
    claim(database)
    database.jobs.cancel(queued.id)
    database.jobs.cancel(running.id)
    clock.advance(100)

    assert database.attempts.reap() == []

    assert {job.state for job in database.jobs.page().jobs} == {State.CANCELED}
