"""A retry is the same job again: its place, its motion, attempts that count on."""

import pytest

from jobs.model import JobStatus, State
from jobs.store.jobs import Store
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, VIDEO, claim, submit


def failed(store: Store) -> str:
    submit(store)
    job = claim(store)
    store.checkpoint(job.id, 1, motion_key="jobs/x/motion.npz", digest="0" * 64)
    assert store.fail(job.id, 1, "clip_missing", "The clip is gone.")
    return job.id


def test_a_failed_job_is_queued_again_with_its_motion(store: Store) -> None:
    job_id = failed(store)

    assert store.retry(job_id)

    job = store.get(job_id)
    assert (job.state, job.stage, job.progress) == (State.QUEUED, "queued", 0.0)
    assert (job.error_code, job.error_detail, job.finished_at) == (None, None, None)
    assert job.motion_key == "jobs/x/motion.npz"
    assert claim(store).attempt == 2


def test_a_retry_has_as_many_attempts_as_a_new_job(store: Store, clock: Clock) -> None:
    job_id = failed(store)
    store.retry(job_id)

    for attempt in (2, 3, 4):
        assert store.get(job_id).state is State.QUEUED
        assert claim(store).attempt == attempt
        clock.advance(16)
        store.reap()

    assert store.get(job_id).error_code == "attempts_exhausted"


def test_a_canceled_job_takes_its_old_place(store: Store) -> None:
    first, second = submit(store), submit(store)
    store.cancel(first.id)

    assert store.retry(first.id)

    assert store.position(first.id) == 1
    assert store.position(second.id) == 2
    assert store.reap() == []  # whoever retries announces it


@pytest.mark.parametrize("name", STALE_WRITES)
def test_a_worker_that_is_still_stopping_writes_nothing(store: Store, name: str) -> None:
    submit(store)
    old = claim(store)
    store.cancel(old.id)
    store.retry(old.id)
    waiting = store.get(old.id)

    assert not STALE_WRITES[name](store, old.id, old.attempt)
    assert store.get(old.id) == waiting
    new = claim(store)
    assert not STALE_WRITES[name](store, old.id, old.attempt)
    assert store.get(old.id) == new


def test_other_states_are_not_retried(store: Store) -> None:
    done = submit(store).id
    claim(store)
    store.succeed(done, 1, [VIDEO])
    at_work = submit(store).id
    claim(store)
    queued = submit(store).id

    for job_id in (done, at_work, queued, "nobody"):
        assert not store.retry(job_id)

    assert store.get(done).outputs == (VIDEO,)
    assert store.get(at_work).state is State.RUNNING


def test_many_standings_are_read_at_once(store: Store) -> None:
    at_work, first, second = (submit(store).id for _ in range(3))
    claim(store)
    store.progress(at_work, 1, "face", 0.5)
    unknown = [f"{number:032x}" for number in range(1200)]

    assert store.statuses([at_work, second, *unknown, first]) == {
        at_work: JobStatus(State.RUNNING, 1, "face", 0.5, None),
        first: JobStatus(State.QUEUED, 0, "queued", 0.0, 1),
        second: JobStatus(State.QUEUED, 0, "queued", 0.0, 2),
    }
