"""Priority comes before age, wherever there is a turn; metadata comes back as it was."""

from jobs.database import Database
from jobs.model import NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from tests.clock import Clock
from tests.jobs.rows import claim, submit


def test_higher_ones_are_claimed_first_and_equal_ones_by_age(database: Database) -> None:
    jobs = {priority: submit(database, priority=priority).id for priority in (0, -10, 10, 3)}
    later = submit(database, priority=3).id

    assert [claim(database).id for _ in range(5)] == [jobs[10], jobs[3], later, jobs[0], jobs[-10]]


def test_places_follow_the_priority(database: Database) -> None:
    low, plain, high = (submit(database, priority=priority).id for priority in (-1, 0, 1))

    assert database.jobs.positions([low, plain, high]) == {high: 1, plain: 2, low: 3}
    assert database.jobs.position(plain) == 2


def test_higher_ones_are_announced_first(database: Database, clock: Clock) -> None:
    plain = [submit(database).id for _ in range(9)]
    high = submit(database, priority=5).id
    clock.advance(10)

    assert database.attempts.reap() == [high, *plain[:7]]


def test_a_job_that_comes_back_keeps_its_priority(database: Database) -> None:
    high, plain = submit(database, priority=1), submit(database)
    first = claim(database)
    database.attempts.release(first.id, first.attempt, "why")

    assert database.jobs.position(high.id) == 1
    database.jobs.cancel(high.id)
    database.jobs.retry(high.id)
    assert database.jobs.positions([high.id, plain.id]) == {high.id: 1, plain.id: 2}


def test_metadata_comes_back_as_it_was(database: Database) -> None:
    job_id, words = new_job_id(), {"order": "17", "café ☕": "“quoted” \\ \n", "empty": ""}
    key = input_key(job_id, "wav")
    database.jobs.submit(
        NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=1.0, metadata=words)
    )

    assert database.jobs.get(job_id).metadata == words
    assert claim(database).metadata == words
    assert submit(database).metadata == {}
