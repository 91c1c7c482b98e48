"""The claim loop empties the queue and waits during outages."""

import threading
from collections.abc import Collection, Sequence

import pytest
from sqlalchemy.exc import OperationalError

from jobs.database import Database
from jobs.model import Job, State
from tests.worker.conftest import Submit
from worker.process.claim_loop import ClaimLoop
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest


class Worker:
    """A claim loop whose attempts have the given outcomes, then succeed at once."""

    def __init__(self, database: Database, outcomes: Sequence[AttemptOutcome] = ()) -> None:
        self.database, self.outcomes = database, iter(outcomes)
        self.stop = StopRequest()
        self.obstacles: list[str] = []
        self.loop = ClaimLoop(
            database.attempts,
            self.attempt,
            worker="w",
            stop=self.stop,
            obstacle=self.next_obstacle,
        )
        self.jobs: list[str] = []

    def next_obstacle(self) -> str | None:
        return self.obstacles.pop() if self.obstacles else None

    def attempt(self, job: Job) -> AttemptOutcome:
        self.jobs.append(job.id)
        outcome = next(self.outcomes, AttemptOutcome.PUBLISHED)
        if outcome is AttemptOutcome.PUBLISHED:
            self.database.attempts.succeed(job.id, job.attempt, [])
        else:
            self.database.attempts.release(job.id, job.attempt, "why", counts=False)
        return outcome


def test_one_run_claims_every_queued_job_in_turn(database: Database, submit: Submit) -> None:
    ids = [submit().id for _ in range(3)]
    worker = Worker(database)

    assert worker.loop.run() == [AttemptOutcome.PUBLISHED] * 3

    assert worker.jobs == ids
    assert worker.loop.run() == []


def test_a_worker_that_shuts_down_claims_nothing(database: Database, submit: Submit) -> None:
    job_id = submit().id
    worker = Worker(database)
    worker.stop.request()

    assert worker.loop.run() == []

    assert database.jobs.get(job_id).state is State.QUEUED


def test_an_outage_is_waited_for(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.claim_loop.SHORTEST_PAUSE", 0.01)
    job_id = submit().id
    worker = Worker(database, [AttemptOutcome.OUTAGE, AttemptOutcome.OUTAGE])

    assert worker.loop.run() == [
        AttemptOutcome.OUTAGE,
        AttemptOutcome.OUTAGE,
        AttemptOutcome.PUBLISHED,
    ]

    assert database.jobs.get(job_id).attempt == 3


def test_a_worker_with_a_full_disk_claims_no_second_job(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.claim_loop.SHORTEST_PAUSE", 0.01)
    first, second = submit().id, submit().id
    worker = Worker(database, [AttemptOutcome.RESOURCE_FAILURE])
    worker.obstacles = ["no room"] * 3
    attempts: list[int] = []
    worker.stop.pause = lambda seconds: attempts.append(database.jobs.get(second).attempt)

    assert worker.loop.run() == [
        AttemptOutcome.RESOURCE_FAILURE,
        AttemptOutcome.PUBLISHED,
        AttemptOutcome.PUBLISHED,
    ]

    assert worker.jobs == [first, first, second]
    assert attempts == [0] * 4  # once after the failure, then once for each failed health check


def test_a_database_outage_does_not_end_the_worker(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit()
    claim = database.attempts.claim
    failures = [OperationalError("select", {}, Exception("away"))] * 2

    def claim_after_failures(name: str, people: Collection[str]) -> Job | None:
        if failures:
            raise failures.pop()
        return claim(name, people)

    monkeypatch.setattr(database.attempts, "claim", claim_after_failures)
    monkeypatch.setattr("worker.process.claim_loop.SHORTEST_PAUSE", 0.01)

    assert Worker(database).loop.run() == [AttemptOutcome.PUBLISHED]


def test_a_worker_that_waits_for_the_database_still_shuts_down(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, people: Collection[str]) -> None:
        raise OperationalError("select", {}, Exception("away"))

    monkeypatch.setattr(database.attempts, "claim", fail)
    worker = Worker(database)
    threading.Timer(0.2, worker.stop.request).start()

    assert worker.loop.run() == []
