"""A worker that has met trouble looks whether a job could be done, before it claims one."""

import errno
from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.storage.factory import StorageError, open_storage
from worker.process.health import obstacle


def test_nothing_is_in_the_way_and_nothing_is_left(tmp_path: Path) -> None:
    storage = open_storage(Settings(data=tmp_path / "data"))
    (tmp_path / "scratch").mkdir()

    assert obstacle(tmp_path / "scratch", storage) is None

    assert list((tmp_path / "scratch").iterdir()) == []
    assert [path for path in storage.folder.rglob("*") if path.is_file()] == []


def test_a_full_disk_and_a_storage_that_refuses_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def away(key: str, path: Path, content_type: str) -> None:
        raise StorageError("on holiday")

    storage = open_storage(Settings(data=tmp_path / "data"))
    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", away)
        assert obstacle(tmp_path, storage) == "on holiday"
    monkeypatch.setattr(Path, "write_bytes", full)
    assert obstacle(tmp_path, storage) == f"cannot write to {tmp_path}: No space left on device"
