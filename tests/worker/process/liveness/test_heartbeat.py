"""The heartbeat file appears with the thread and is touched again."""

import threading
from pathlib import Path

import pytest

from worker.process.liveness.heartbeat import FILE, Heartbeat


def test_the_file_is_touched_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.process.liveness.heartbeat.SECONDS", 0.01)
    touched, touch = threading.Semaphore(0), Path.touch

    def counted(path: Path) -> None:
        touch(path)
        touched.release()

    monkeypatch.setattr(Path, "touch", counted)
    with Heartbeat(tmp_path):
        for _ in range(3):
            assert touched.acquire(timeout=30)

    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_folder_that_is_gone_does_not_end_the_worker(tmp_path: Path) -> None:
    with Heartbeat(tmp_path / "gone"):
        pass

    assert not (tmp_path / "gone").exists()
