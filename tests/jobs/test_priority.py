"""Priority comes before age, wherever there is a turn; metadata comes back as it was."""

from jobs.model import NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.jobs import Store
from tests.clock import Clock
from tests.jobs.rows import claim, submit


def test_higher_ones_are_claimed_first_and_equal_ones_by_age(store: Store) -> None:
    jobs = {priority: submit(store, priority=priority).id for priority in (0, -10, 10, 3)}
    later = submit(store, priority=3).id

    assert [claim(store).id for _ in range(5)] == [jobs[10], jobs[3], later, jobs[0], jobs[-10]]


def test_places_follow_the_priority(store: Store) -> None:
    low, plain, high = (submit(store, priority=priority).id for priority in (-1, 0, 1))

    assert store.positions([low, plain, high]) == {high: 1, plain: 2, low: 3}
    assert store.position(plain) == 2


def test_higher_ones_are_announced_first(store: Store, clock: Clock) -> None:
    plain = [submit(store).id for _ in range(9)]
    high = submit(store, priority=5).id
    clock.advance(10)

    assert store.reap() == [high, *plain[:7]]


def test_a_job_that_comes_back_keeps_its_priority(store: Store) -> None:
    high, plain = submit(store, priority=1), submit(store)
    first = claim(store)
    store.release(first.id, first.attempt, "why")

    assert store.position(high.id) == 1
    store.cancel(high.id)
    store.retry(high.id)
    assert store.positions([high.id, plain.id]) == {high.id: 1, plain.id: 2}


def test_metadata_comes_back_as_it_was(store: Store) -> None:
    job_id, words = new_job_id(), {"order": "17", "café ☕": "“quoted” \\ \n", "empty": ""}
    key = input_key(job_id, "wav")
    store.submit(NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=1.0, metadata=words))

    assert store.get(job_id).metadata == words
    assert claim(store).metadata == words
    assert submit(store).metadata == {}
