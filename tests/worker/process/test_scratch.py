"""Scratch folders are removed at the end, and those of killed workers by the next worker."""

import shutil
from pathlib import Path

import pytest

from worker.process.scratch import recorded_job, scratch_folder, sweep


def test_a_scratch_folder_is_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "scratch") as folder:
        (folder.path / "half.mp4").touch()

    assert list((tmp_path / "scratch").iterdir()) == []


def test_only_the_folder_of_a_killed_worker_is_removed(tmp_path: Path) -> None:
    dead = tmp_path / "worker-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "sound.f32").write_bytes(bytes(100))

    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.path.name, second.path.name}


@pytest.mark.parametrize("removed", ["the lock", "the folder", "all folders"])
def test_scratch_that_was_removed_is_made_again(tmp_path: Path, removed: str) -> None:
    parent = tmp_path / "scratch"
    with scratch_folder(parent) as folder:
        assert not folder.restore()
        if removed == "the lock":
            (folder.path / "lock").unlink()
        else:
            shutil.rmtree(folder.path if removed == "the folder" else parent)

        assert folder.restore()

        assert not folder.restore()
        with scratch_folder(parent):  # another worker, which removes the folders of dead ones
            assert (folder.path / "lock").is_file()

    assert list(parent.iterdir()) == []


def test_the_job_of_a_dead_worker_is_found_at_once(tmp_path: Path) -> None:
    orphans: list[tuple[str, int]] = []

    def on_orphan(job_id: str, attempt: int) -> bool:
        orphans.append((job_id, attempt))
        return True

    with scratch_folder(tmp_path) as alive, recorded_job(alive.path, "living", 1):
        dead = tmp_path / "worker-dead"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "orphan.attempt").write_text("orphan 2")
        torn = tmp_path / "worker-torn"
        torn.mkdir()
        (torn / "lock").touch()
        (torn / "torn.attempt").write_text("or")
        with scratch_folder(tmp_path, on_orphan=on_orphan) as folder:
            with recorded_job(folder.path, "done", 1):
                pass
            assert [path.name for path in folder.path.iterdir()] == ["lock"]

    assert orphans == [("orphan", 2)]


def kill_worker(folder: Path) -> Path:
    """Leave the scratch folder of a worker that was killed while it ran a job."""
    dead = folder / "worker-dead"
    dead.mkdir()
    (dead / "orphan.attempt").write_text("orphan 2")
    (dead / "lock").touch()
    return dead


def test_the_folder_of_a_dead_worker_stays_until_its_job_is_released(tmp_path: Path) -> None:
    dead = kill_worker(tmp_path)

    sweep(tmp_path, lambda job_id, attempt: False)  # the database does not answer
    assert dead.exists()
    sweep(tmp_path, lambda job_id, attempt: True)

    assert not dead.exists()
