"""Health check of a worker before its next claim."""

import errno
from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.storage.factory import StorageError, open_storage
from worker.process.health import obstacle


def test_a_healthy_worker_has_no_obstacle_and_leaves_no_files(tmp_path: Path) -> None:
    storage = open_storage(Settings(data=tmp_path / "data"))
    (tmp_path / "scratch").mkdir()

    assert obstacle(tmp_path / "scratch", storage) is None

    assert list((tmp_path / "scratch").iterdir()) == []
    assert [path for path in storage.folder.rglob("*") if path.is_file()] == []


def test_a_full_disk_and_a_failing_storage_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail(key: str, path: Path, content_type: str) -> None:
        raise StorageError("no response")

    storage = open_storage(Settings(data=tmp_path / "data"))
    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", fail)
        assert obstacle(tmp_path, storage) == "no response"
    monkeypatch.setattr(Path, "write_bytes", full)
    assert obstacle(tmp_path, storage) == f"cannot write to {tmp_path}: No space left on device"
