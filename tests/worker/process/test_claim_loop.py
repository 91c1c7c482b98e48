"""A wake-up empties the queue; trouble is waited out."""

import threading
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import OperationalError

from jobs.database import Database
from jobs.model import Job, State
from tests.worker.conftest import Submit
from worker.process.claim_loop import ClaimLoop
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest


class Worker:
    """Attempts that succeed at once, unless told otherwise."""

    def __init__(self, database: Database, endings: Sequence[AttemptOutcome] = ()) -> None:
        self.database, self.endings = database, iter(endings)
        self.leave = StopRequest()
        self.obstacles: list[str] = []
        self.shift = ClaimLoop(
            database.attempts,
            self.attempt,
            worker="w",
            leave=self.leave,
            obstacle=self.next_obstacle,
        )
        self.done: list[str] = []

    def next_obstacle(self) -> str | None:
        return self.obstacles.pop() if self.obstacles else None

    def attempt(self, job: Job) -> AttemptOutcome:
        self.done.append(job.id)
        ending = next(self.endings, AttemptOutcome.PUBLISHED)
        if ending is AttemptOutcome.PUBLISHED:
            self.database.attempts.succeed(job.id, job.attempt, [])
        else:
            self.database.attempts.release(job.id, job.attempt, "why", counts=False)
        return ending


def test_one_wake_up_does_every_queued_job_in_turn(database: Database, submit: Submit) -> None:
    ids = [submit().id for _ in range(3)]
    worker = Worker(database)

    assert worker.shift.run() == [AttemptOutcome.PUBLISHED] * 3

    assert worker.done == ids
    assert worker.shift.run() == []


def test_nothing_is_claimed_by_a_worker_that_leaves(database: Database, submit: Submit) -> None:
    job_id = submit().id
    worker = Worker(database)
    worker.leave.ask()

    assert worker.shift.run() == []

    assert database.jobs.get(job_id).state is State.QUEUED


def test_something_that_is_away_is_waited_for(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.claim_loop.SHORTEST_PAUSE", 0.01)
    job_id = submit().id
    worker = Worker(database, [AttemptOutcome.AWAY, AttemptOutcome.AWAY])

    assert worker.shift.run() == [
        AttemptOutcome.AWAY,
        AttemptOutcome.AWAY,
        AttemptOutcome.PUBLISHED,
    ]

    assert database.jobs.get(job_id).attempt == 3


def test_a_full_disk_takes_no_second_job(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.claim_loop.SHORTEST_PAUSE", 0.01)
    first, second = submit().id, submit().id
    worker = Worker(database, [AttemptOutcome.SET_BACK])
    worker.obstacles = ["no room"] * 3
    waiting: list[int] = []
    worker.leave.pause = lambda seconds: waiting.append(database.jobs.get(second).attempt)

    assert worker.shift.run() == [
        AttemptOutcome.SET_BACK,
        AttemptOutcome.PUBLISHED,
        AttemptOutcome.PUBLISHED,
    ]

    assert worker.done == [first, first, second]
    assert waiting == [0] * 4  # once after the setback, then for each look that found no room


def test_a_database_that_is_away_does_not_end_the_worker(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit()
    claim = database.attempts.claim
    failures = [OperationalError("select", {}, Exception("away"))] * 2

    def claim_after_a_while(name: str) -> Job | None:
        if failures:
            raise failures.pop()
        return claim(name)

    monkeypatch.setattr(database.attempts, "claim", claim_after_a_while)
    monkeypatch.setattr("worker.process.claim_loop.SHORTEST_PAUSE", 0.01)

    assert Worker(database).shift.run() == [AttemptOutcome.PUBLISHED]


def test_a_worker_that_waits_for_the_database_still_leaves(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(name: str) -> None:
        raise OperationalError("select", {}, Exception("away"))

    monkeypatch.setattr(database.attempts, "claim", away)
    worker = Worker(database)
    threading.Timer(0.2, worker.leave.ask).start()

    assert worker.shift.run() == []
