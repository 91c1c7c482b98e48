"""Canceling: one write, after which the attempt that had the job writes nothing."""

import pytest

from jobs.model import State
from jobs.store.jobs import Store
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, VIDEO, claim, submit


def test_a_queued_job_is_canceled_and_never_claimed(store: Store) -> None:
    job = submit(store)

    assert store.cancel(job.id)

    ended = store.get(job.id)
    assert (ended.state, ended.attempt) == (State.CANCELED, 0)
    assert ended.finished_at is not None
    assert store.claim("worker-1") is None
    assert store.position(job.id) is None


@pytest.mark.parametrize("name", STALE_WRITES)
def test_the_worker_of_a_canceled_job_writes_nothing(store: Store, name: str) -> None:
    submit(store)
    job = claim(store)
    assert store.cancel(job.id)
    ended = store.get(job.id)

    assert not STALE_WRITES[name](store, job.id, job.attempt)

    assert store.get(job.id) == ended
    assert (ended.state, ended.outputs) == (State.CANCELED, ())


def test_a_job_is_canceled_once(store: Store) -> None:
    job = submit(store)
    assert store.cancel(job.id)
    ended = store.get(job.id)

    assert not store.cancel(job.id)
    assert not store.cancel("nobody")

    assert store.get(job.id) == ended


def test_what_has_succeeded_stays_so(store: Store) -> None:
    submit(store)
    job = claim(store)
    store.succeed(job.id, job.attempt, [VIDEO])

    assert not store.cancel(job.id)

    assert store.get(job.id).state is State.SUCCEEDED


def test_the_reaper_leaves_canceled_jobs_alone(store: Store, clock: Clock) -> None:
    queued, running = submit(store), submit(store)
    claim(store)
    store.cancel(queued.id)
    store.cancel(running.id)
    clock.advance(100)

    assert store.reap() == []

    assert {job.state for job in store.recent()} == {State.CANCELED}
