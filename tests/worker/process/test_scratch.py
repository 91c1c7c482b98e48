"""A worker's room on the disk goes with it, and is swept when it was killed."""

from pathlib import Path

from jobs.database import Database
from jobs.model import State
from tests.worker.conftest import Submit
from worker.process.celery_worker import put_back_orphan
from worker.process.scratch import job_noted, scratch_room


def test_a_room_is_gone_at_the_end(tmp_path: Path) -> None:
    with scratch_room(tmp_path / "scratch") as room:
        (room / "half.mp4").touch()

    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_room_of_a_killed_worker_is_swept_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    dead = tmp_path / "worker-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "sound.f32").write_bytes(bytes(100))

    with scratch_room(tmp_path) as first, scratch_room(tmp_path) as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}


def test_the_job_of_a_dead_worker_is_found_at_once(tmp_path: Path) -> None:
    found: list[tuple[str, int]] = []

    def tell(job_id: str, attempt: int) -> None:
        found.append((job_id, attempt))

    with scratch_room(tmp_path) as alive, job_noted(alive, "living", 1):
        dead = tmp_path / "worker-dead"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "job").write_text("orphan 2")
        torn = tmp_path / "worker-torn"
        torn.mkdir()
        (torn / "lock").touch()
        (torn / "job").write_text("or")
        with scratch_room(tmp_path, orphaned=tell) as room:
            with job_noted(room, "done", 1):
                pass
            assert [path.name for path in room.iterdir()] == ["lock"]

    assert found == [("orphan", 2)]


def test_an_orphan_is_put_back_once_and_counts(database: Database, submit: Submit) -> None:
    job_id = submit().id
    assert database.attempts.claim("dead") is not None

    put_back_orphan(database.attempts, job_id, 1)
    put_back_orphan(database.attempts, job_id, 1)

    job = database.jobs.get(job_id)
    assert (job.state, job.attempt, job.max_attempts) == (State.QUEUED, 1, 3)
    assert job.error_detail == "attempt 1 ended with its worker"
