"""Deleting: the row goes at once, the objects in rounds that may be done twice."""

import pytest

from jobs.model import State
from jobs.store.deletions import HOLD_SECONDS, Deletion
from jobs.store.jobs import JobMissing, Store
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, claim, submit

DAY = 86_400


def rounds(store: Store, clock: Clock, *, seconds: int, step: int) -> list[float]:
    """When removals were due, in seconds from now, if every one is done at once."""
    found = []
    for second in range(0, seconds, step):
        for removal in store.due_removals():
            found.append(second)
            store.removed(removal)
        clock.advance(step)
    return found


def test_a_deleted_job_is_gone(store: Store) -> None:
    job, other = submit(store), submit(store)

    assert store.delete(job.id).job_id == job.id

    with pytest.raises(JobMissing):
        store.get(job.id)
    assert claim(store).id == other.id
    with pytest.raises(JobMissing):
        store.delete(job.id)


@pytest.mark.parametrize("name", STALE_WRITES)
def test_the_worker_of_a_deleted_job_writes_nothing(store: Store, name: str) -> None:
    submit(store)
    job = claim(store)
    store.delete(job.id)

    assert not STALE_WRITES[name](store, job.id, job.attempt)

    assert store.recent() == []


def test_objects_that_no_worker_has_added_to_are_removed_once(store: Store, clock: Clock) -> None:
    store.removed(store.delete(submit(store).id))

    assert rounds(store, clock, seconds=2 * DAY, step=600) == []


def test_objects_of_a_job_that_ran_are_removed_again_later(store: Store, clock: Clock) -> None:
    submit(store)
    store.removed(store.delete(claim(store).id))

    found = rounds(store, clock, seconds=2 * DAY, step=20)

    assert found == [60, 3600, DAY]


def test_a_removal_that_failed_comes_again(store: Store, clock: Clock) -> None:
    job = submit(store)
    removal = store.delete(job.id)
    assert store.due_removals() == []  # it is in somebody's hands
    clock.advance(HOLD_SECONDS)

    assert store.due_removals() == [removal]
    assert store.due_removals() == []
    clock.advance(HOLD_SECONDS)
    assert store.due_removals() == [removal]


def test_a_round_that_was_done_twice_counts_once(store: Store, clock: Clock) -> None:
    submit(store)
    first = store.delete(claim(store).id)

    for _ in range(3):
        store.removed(first)

    clock.advance(60)
    assert store.due_removals() == [Deletion(first.job_id, first.rounds_left - 1)]


def test_many_removals_are_taken_a_few_at_a_time(store: Store, clock: Clock) -> None:
    for _ in range(10):
        store.delete(submit(store).id)
    clock.advance(HOLD_SECONDS)

    assert [len(store.due_removals()) for _ in range(3)] == [8, 2, 0]


def test_a_job_may_be_deleted_in_any_state(store: Store) -> None:
    failed, running, queued, canceled = (submit(store) for _ in range(4))
    for _ in range(2):
        claim(store)
    store.fail(failed.id, 1, "clip_silent", "The clip is silent.")
    store.cancel(canceled.id)
    assert store.get(running.id).state is State.RUNNING
    assert store.get(queued.id).state is State.QUEUED

    for job in (queued, running, failed, canceled):
        store.delete(job.id)

    assert store.recent() == []
