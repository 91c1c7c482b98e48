"""The claim loop empties the queue and waits during outages."""

import threading
from collections.abc import Collection, Sequence

import pytest
from sqlalchemy.exc import OperationalError

from jobs.database import Database
from jobs.model import Job, State
from tests.worker.conftest import Submit
from worker.process.claim_loop import BROKEN_DEVICE, MOST_BROKEN, UNFIT, ClaimLoop
from worker.process.faults.health import Obstacle
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest


class Worker:
    """A claim loop whose attempts have the given outcomes, then succeed at once."""

    def __init__(self, database: Database, outcomes: Sequence[AttemptOutcome] = ()) -> None:
        self.database, self.outcomes = database, iter(outcomes)
        self.stop = StopRequest()
        self.seconds = 0.0
        self.complete = True
        self.forget_jobs = False
        self.obstacles: list[Obstacle] = []
        self.loop = ClaimLoop(
            database.attempts,
            self.attempt,
            worker="w",
            stop=self.stop,
            obstacle=self.next_obstacle,
            usable=self.usable,
            now=lambda: self.seconds,
        )
        self.jobs: list[str] = []

    def next_obstacle(self) -> Obstacle | None:
        return self.obstacles.pop() if self.obstacles else None

    def usable(self, person: str) -> bool:
        return self.complete

    def attempt(self, job: Job) -> AttemptOutcome:
        self.jobs.append(job.id)
        outcome = next(self.outcomes, AttemptOutcome.PUBLISHED)
        if outcome is AttemptOutcome.PUBLISHED:
            self.database.attempts.succeed(job.id, job.attempt, [])
        elif self.forget_jobs:
            self.database.attempts.fail(job.id, job.attempt, "code", "Why.")
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
    worker = Worker(database, [AttemptOutcome.UNFIT])
    worker.obstacles = [Obstacle("scratch", "no room")] * 3
    attempts: list[int] = []
    worker.stop.pause = lambda seconds: attempts.append(database.jobs.get(second).attempt)

    assert worker.loop.run() == [
        AttemptOutcome.UNFIT,
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

    def claim_after_failures(
        name: str, people: Collection[str], without: Collection[str]
    ) -> Job | None:
        if failures:
            raise failures.pop()
        return claim(name, people, without)

    monkeypatch.setattr(database.attempts, "claim", claim_after_failures)
    monkeypatch.setattr("worker.process.claim_loop.SHORTEST_PAUSE", 0.01)

    assert Worker(database).loop.run() == [AttemptOutcome.PUBLISHED]


def test_a_worker_that_waits_for_the_database_still_shuts_down(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, people: Collection[str], without: Collection[str]) -> None:
        raise OperationalError("select", {}, Exception("away"))

    monkeypatch.setattr(database.attempts, "claim", fail)
    worker = Worker(database)
    threading.Timer(0.2, worker.stop.request).start()

    assert worker.loop.run() == []


def test_a_worker_ends_after_several_broken_jobs_in_a_row(
    database: Database, submit: Submit
) -> None:
    for _ in range(2 * MOST_BROKEN):
        submit()
    broken = [AttemptOutcome.INTERNAL_ERROR] * (MOST_BROKEN - 1)
    worker = Worker(database, [*broken, AttemptOutcome.PUBLISHED, *broken, broken[0]])
    worker.forget_jobs = True
    pauses: list[float] = []
    worker.stop.pause = pauses.append

    outcomes = worker.loop.run()

    assert outcomes == [*broken, AttemptOutcome.PUBLISHED, *broken, broken[0]]
    assert worker.loop.exit_status == UNFIT
    assert pauses[: len(broken)] == [0.5, 1.0, 2.0, 4.0]  # they grow until a job is good
    assert pauses[len(broken)] == 0.5


def test_one_broken_job_does_not_end_a_worker(database: Database, submit: Submit) -> None:
    submit()
    worker = Worker(database, [AttemptOutcome.INTERNAL_ERROR] * (MOST_BROKEN + 1))
    worker.stop.pause = lambda seconds: None

    assert worker.loop.run()[-1] is AttemptOutcome.PUBLISHED

    assert worker.loop.exit_status is None


def test_a_broken_device_ends_the_process(database: Database, submit: Submit) -> None:
    submit()
    worker = Worker(database, [AttemptOutcome.UNFIT])
    worker.stop.pause = lambda seconds: None
    worker.obstacles = [Obstacle("device", "it computes no more")]

    assert worker.loop.run() == [AttemptOutcome.UNFIT]

    assert worker.loop.exit_status == BROKEN_DEVICE


def test_jobs_of_an_incomplete_person_wait_and_those_of_others_do_not(
    database: Database, submit: Submit
) -> None:
    damaged, other = submit(person="damaged").id, submit(person="other").id
    worker = Worker(database, [AttemptOutcome.PERSON_MISSING])

    assert worker.loop.run() == [AttemptOutcome.PERSON_MISSING, AttemptOutcome.PUBLISHED]
    assert worker.jobs == [damaged, other]
    worker.seconds, worker.complete = 3600.0, False
    assert worker.loop.run() == []
    worker.seconds, worker.complete = 7200.0, True
    assert worker.loop.run() == [AttemptOutcome.PUBLISHED]


def test_the_job_of_an_outage_is_put_back_when_the_database_is_back(
    database: Database, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit().id
    release, away = database.attempts.release, [True, True]

    def release_after_outage(*arguments: object, **named: object) -> bool:
        if away:
            away.pop()
            raise OperationalError("update", {}, Exception("away"))
        return release(*arguments, **named)  # type: ignore[arg-type]

    def attempt(job: Job) -> AttemptOutcome:
        if job.attempt > 1:
            database.attempts.succeed(job.id, job.attempt, [])
            return AttemptOutcome.PUBLISHED
        return AttemptOutcome.OUTAGE  # its release failed, too

    monkeypatch.setattr(database.attempts, "release", release_after_outage)
    stop = StopRequest()
    stop.pause = lambda seconds: None  # type: ignore[method-assign]

    outcomes = ClaimLoop(database.attempts, attempt, worker="w", stop=stop).run()

    assert outcomes == [AttemptOutcome.OUTAGE, AttemptOutcome.PUBLISHED]
    job = database.jobs.get(job_id)
    assert (job.attempt, job.max_attempts) == (2, 4)  # the first one did not count
