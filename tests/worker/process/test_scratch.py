"""Scratch folders are removed at the end, and those of killed workers by the next worker."""

from pathlib import Path

from jobs.database import Database
from jobs.model import State
from tests.worker.conftest import Submit
from worker.process.celery_worker import release_orphan
from worker.process.scratch import recorded_job, scratch_folder


def test_a_scratch_folder_is_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "scratch") as folder:
        (folder / "half.mp4").touch()

    assert list((tmp_path / "scratch").iterdir()) == []


def test_only_the_folder_of_a_killed_worker_is_removed(tmp_path: Path) -> None:
    dead = tmp_path / "worker-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "sound.f32").write_bytes(bytes(100))

    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}


def test_the_job_of_a_dead_worker_is_found_at_once(tmp_path: Path) -> None:
    orphans: list[tuple[str, int]] = []

    def on_orphan(job_id: str, attempt: int) -> None:
        orphans.append((job_id, attempt))

    with scratch_folder(tmp_path) as alive, recorded_job(alive, "living", 1):
        dead = tmp_path / "worker-dead"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "job").write_text("orphan 2")
        torn = tmp_path / "worker-torn"
        torn.mkdir()
        (torn / "lock").touch()
        (torn / "job").write_text("or")
        with scratch_folder(tmp_path, on_orphan=on_orphan) as folder:
            with recorded_job(folder, "done", 1):
                pass
            assert [path.name for path in folder.iterdir()] == ["lock"]

    assert orphans == [("orphan", 2)]


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
