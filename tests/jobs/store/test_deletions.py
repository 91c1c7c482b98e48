"""Deletion: the row at once, the objects in rounds that can be repeated."""

from itertools import pairwise

import pytest

from jobs.database import Database
from jobs.model import State
from jobs.store.deletions import HOLD_SECONDS, Deletion
from jobs.store.job_rows import JobMissing
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, claim, submit

DAY = 86_400
POLLS = (  # seconds, dense where removals are due
    *range(0, 7200, 20),
    *range(7200, DAY - 600, 600),
    *range(DAY - 600, DAY + 600, 20),
    *range(DAY + 600, 2 * DAY, 600),
)


def rounds(database: Database, clock: Clock) -> list[float]:
    """Return the times of two days at which removals are due, if each is done at once."""
    found = []
    for second, following in pairwise(POLLS):
        for deletion in database.deletions.take_due():
            found.append(second)
            database.deletions.finish_round(deletion)
        clock.advance(following - second)
    return found


def test_a_deleted_job_is_gone(database: Database) -> None:
    job, other = submit(database), submit(database)

    assert database.jobs.delete(job.id).job_id == job.id

    with pytest.raises(JobMissing):
        database.jobs.get(job.id)
    assert claim(database).id == other.id
    with pytest.raises(JobMissing):
        database.jobs.delete(job.id)


@pytest.mark.parametrize("name", STALE_WRITES)
def test_the_worker_of_a_deleted_job_cannot_write(database: Database, name: str) -> None:
    submit(database)
    job = claim(database)
    database.jobs.delete(job.id)

    assert not STALE_WRITES[name](database, job.id, job.attempt)

    assert database.jobs.page().jobs == []


def test_objects_of_a_job_without_attempts_are_removed_once(
    database: Database, clock: Clock
) -> None:
    database.deletions.finish_round(database.jobs.delete(submit(database).id))

    assert rounds(database, clock) == []


def test_objects_of_a_job_that_ran_are_removed_again_later(
    database: Database, clock: Clock
) -> None:
    submit(database)
    database.deletions.finish_round(database.jobs.delete(claim(database).id))

    assert rounds(database, clock) == [60, 3600, DAY]


def test_a_failed_removal_is_repeated(database: Database, clock: Clock) -> None:
    job = submit(database)
    deletion = database.jobs.delete(job.id)
    assert database.deletions.take_due() == []  # another process holds it
    clock.advance(HOLD_SECONDS)

    assert database.deletions.take_due() == [deletion]
    assert database.deletions.take_due() == []
    clock.advance(HOLD_SECONDS)
    assert database.deletions.take_due() == [deletion]


def test_a_repeated_round_counts_once(database: Database, clock: Clock) -> None:
    submit(database)
    first = database.jobs.delete(claim(database).id)

    for _ in range(3):
        database.deletions.finish_round(first)

    clock.advance(60)
    assert database.deletions.take_due() == [Deletion(first.job_id, first.rounds_left - 1)]


def test_removals_are_taken_in_batches(database: Database, clock: Clock) -> None:
    for _ in range(10):
        database.jobs.delete(submit(database).id)
    clock.advance(HOLD_SECONDS)

    assert [len(database.deletions.take_due()) for _ in range(3)] == [8, 2, 0]


def test_a_job_can_be_deleted_in_any_state(database: Database) -> None:
    failed, running, queued, canceled = (submit(database) for _ in range(4))
    for _ in range(2):
        claim(database)
    database.attempts.fail(failed.id, 1, "clip_silent", "The clip is silent.")
    database.jobs.cancel(canceled.id)
    assert database.jobs.get(running.id).state is State.RUNNING
    assert database.jobs.get(queued.id).state is State.QUEUED

    for job in (queued, running, failed, canceled):
        database.jobs.delete(job.id)

    assert database.jobs.page().jobs == []
