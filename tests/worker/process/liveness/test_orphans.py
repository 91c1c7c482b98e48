"""Jobs of dead workers are put back once, and the attempt counts."""

import threading
from pathlib import Path

import pytest

from jobs.database import Database
from jobs.model import State
from jobs.queue.session_locks import SessionLock
from tests.worker.conftest import Submit
from worker.process.liveness.orphans import OrphanWatch, release_orphan


def test_an_orphaned_job_is_released_once_and_counts_as_an_attempt(
    database: Database, submit: Submit
) -> None:
    job_id = submit().id
    assert database.attempts.claim("dead") is not None

    release_orphan(database.attempts, job_id, 1)
    release_orphan(database.attempts, job_id, 1)

    job = database.jobs.get(job_id)
    assert (job.state, job.attempt, job.max_attempts) == (State.QUEUED, 1, 3)
    assert job.error_detail == "the worker of attempt 1 died"


def test_a_worker_notices_that_one_beside_it_has_died(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.liveness.orphans.WATCH_SECONDS", 0.05)
    found = threading.Event()

    def on_orphan(job_id: str, attempt: int) -> bool:
        assert (job_id, attempt) == ("orphan", 2)
        found.set()
        return True

    with OrphanWatch(tmp_path, SessionLock(database.engine, "alive"), on_orphan):
        dead = tmp_path / "worker-dead"
        dead.mkdir()
        (dead / "orphan.attempt").write_text("orphan 2")
        (dead / "lock").touch()
        assert found.wait(30)
