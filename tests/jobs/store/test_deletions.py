"""Deleting: the row goes at once, the objects in rounds that may be done twice."""

import pytest

from jobs.database import Database
from jobs.model import State
from jobs.store.deletions import HOLD_SECONDS, Deletion
from jobs.store.job_rows import JobMissing
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, claim, submit

DAY = 86_400


def rounds(database: Database, clock: Clock, *, seconds: int, step: int) -> list[float]:
    """When removals were due, in seconds from now, if every one is done at once."""
    found = []
    for second in range(0, seconds, step):
        for removal in database.deletions.take_due():
            found.append(second)
            database.deletions.finish_round(removal)
        clock.advance(step)
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
def test_the_worker_of_a_deleted_job_writes_nothing(database: Database, name: str) -> None:
    submit(database)
    job = claim(database)
    database.jobs.delete(job.id)

    assert not STALE_WRITES[name](database, job.id, job.attempt)

    assert database.jobs.page().jobs == []


def test_objects_that_no_worker_has_added_to_are_removed_once(
    database: Database, clock: Clock
) -> None:
    database.deletions.finish_round(database.jobs.delete(submit(database).id))

    assert rounds(database, clock, seconds=2 * DAY, step=600) == []


def test_objects_of_a_job_that_ran_are_removed_again_later(
    database: Database, clock: Clock
) -> None:
    submit(database)
    database.deletions.finish_round(database.jobs.delete(claim(database).id))

    found = rounds(database, clock, seconds=2 * DAY, step=20)

    assert found == [60, 3600, DAY]


def test_a_removal_that_failed_comes_again(database: Database, clock: Clock) -> None:
    job = submit(database)
    removal = database.jobs.delete(job.id)
    assert database.deletions.take_due() == []  # it is in somebody's hands
    clock.advance(HOLD_SECONDS)

    assert database.deletions.take_due() == [removal]
    assert database.deletions.take_due() == []
    clock.advance(HOLD_SECONDS)
    assert database.deletions.take_due() == [removal]


def test_a_round_that_was_done_twice_counts_once(database: Database, clock: Clock) -> None:
    submit(database)
    first = database.jobs.delete(claim(database).id)

    for _ in range(3):
        database.deletions.finish_round(first)

    clock.advance(60)
    assert database.deletions.take_due() == [Deletion(first.job_id, first.rounds_left - 1)]


def test_many_removals_are_taken_a_few_at_a_time(database: Database, clock: Clock) -> None:
    for _ in range(10):
        database.jobs.delete(submit(database).id)
    clock.advance(HOLD_SECONDS)

    assert [len(database.deletions.take_due()) for _ in range(3)] == [8, 2, 0]


def test_a_job_may_be_deleted_in_any_state(database: Database) -> None:
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
