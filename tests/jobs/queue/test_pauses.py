"""Pauses of claims: what they cover, and that they outlive the process that set them."""

import pytest

from jobs.database import Database, stores_on
from jobs.db.engine import connect
from jobs.model import State
from jobs.queue.pauses import PauseScope, PauseTarget
from tests.clock import Clock
from tests.jobs.rows import claim, submit

EVERYTHING = PauseTarget(PauseScope.ALL)


def test_nothing_is_claimed_while_all_claims_are_paused(database: Database) -> None:
    running, waiting = submit(database), submit(database)
    claim(database)
    assert database.pauses.pause(EVERYTHING, "upgrade of the database")

    assert database.attempts.claim("worker-1") is None
    assert database.attempts.succeed(running.id, 1, [])  # running jobs go on
    assert database.jobs.get(waiting.id).state is State.QUEUED

    assert database.pauses.resume(EVERYTHING)
    assert claim(database).id == waiting.id


def test_a_pause_is_read_by_every_process(database: Database, database_url: str) -> None:
    submit(database)
    operator = stores_on(connect(database_url))
    operator.pauses.pause(EVERYTHING, "at night")
    operator.close()

    (pause,) = database.pauses.all()

    assert (str(pause.target), pause.note) == ("all jobs", "at night")
    assert database.attempts.claim("worker-1") is None


@pytest.mark.parametrize(
    ("scope", "name"), [(PauseScope.TENANT, "many"), (PauseScope.PERSON, "anna")]
)
def test_only_jobs_of_the_tenant_or_person_wait(
    database: Database, scope: PauseScope, name: str
) -> None:
    first = submit(database, tenant="many", person="anna", priority=9)
    other = submit(database, tenant="few", person="demo")
    database.pauses.pause(PauseTarget(scope, name))

    assert claim(database).id == other.id
    assert database.attempts.claim("worker-1") is None
    assert not database.attempts.any_waiting()

    database.pauses.resume(PauseTarget(scope, name))
    assert claim(database).id == first.id


@pytest.mark.parametrize("name", ["gpu-1-4711", "gpu-1"])
def test_a_worker_or_all_workers_of_a_host_claim_nothing(database: Database, name: str) -> None:
    submit(database)
    database.pauses.pause(PauseTarget(PauseScope.WORKER, name))

    assert database.attempts.claim("gpu-1-4711") is None
    assert database.pauses.covering("gpu-1-4711").everything
    assert database.attempts.claim("gpu-11-4711") is not None


def test_waiting_jobs_are_announced_at_once_after_a_pause(database: Database, clock: Clock) -> None:
    waiting = submit(database)
    clock.advance(11)
    assert database.attempts.reap() == [waiting.id]
    database.pauses.pause(EVERYTHING)
    database.pauses.resume(EVERYTHING)

    assert database.attempts.reap() == [waiting.id]


def test_a_second_pause_and_a_second_resume_change_nothing(database: Database) -> None:
    assert database.pauses.pause(EVERYTHING, "first")

    assert not database.pauses.pause(EVERYTHING, "second")

    assert [pause.note for pause in database.pauses.all()] == ["first"]
    assert database.pauses.resume(EVERYTHING)
    assert not database.pauses.resume(EVERYTHING)
    assert database.pauses.all() == []


def test_running_jobs_of_a_target_are_counted(database: Database) -> None:
    submit(database, tenant="a"), submit(database, tenant="b")
    claim(database, "gpu_1-7")
    worker = PauseTarget(PauseScope.WORKER, "gpu_1")

    assert database.pauses.unfinished(worker, State.RUNNING) == 1
    assert database.pauses.unfinished(EVERYTHING, State.QUEUED, State.RUNNING) == 2
    assert database.pauses.unfinished(PauseTarget(PauseScope.TENANT, "b"), State.RUNNING) == 0
    assert database.pauses.known(worker)
    assert not database.pauses.known(PauseTarget(PauseScope.WORKER, "gpuX1"))
