"""507 when no space is left: a problem, and no partial files."""

import errno
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.api.rows import stored_files
from tests.api_server import Served
from tests.problems import problem


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_pages(*_: object, **__: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise OperationalError("insert", {}, error)


def stored(served: Served) -> tuple[set[Path], int]:
    """The stored files, and the number of jobs."""
    return stored_files(served), len(served.services.database.jobs.page(limit=100).jobs)


def refused(served: Served, clip: bytes) -> None:
    before = stored(served)
    answer = served.http.post("/generate", files={"audio": clip})
    problem(answer, 507, "storage_full")
    assert answer.headers["Retry-After"] == "60"
    assert stored(served) == before


def test_a_full_disk_while_the_upload_is_probed(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", no_space)
    refused(served, clip)


def test_a_full_disk_while_a_large_body_is_read(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", no_space)
    refused(served, clip + bytes(1_500_000))


def test_a_full_storage_while_the_clip_is_stored(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfileobj

    def full(source: object, target: object, length: int = 0) -> None:
        if ".draft-" in str(getattr(target, "name", "")):
            no_space()
        copy(source, target, *([length] if length else []))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    refused(served, clip)


def test_a_full_database_while_the_row_is_written(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.store.idempotency.bind", no_pages)
    before = stored_files(served)
    answer = served.http.post(
        "/generate", files={"audio": clip}, headers={"Idempotency-Key": "full"}
    )
    problem(answer, 507, "storage_full")
    assert stored_files(served) == before
