"""No room left for an upload: a sentence, and nothing half kept."""

import errno
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.api_server import Served
from tests.problems import problem


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_pages(*_: object, **__: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise OperationalError("insert", {}, error)


def kept(served: Served) -> list[Path]:
    return [path for path in served.services.storage.folder.rglob("*") if path.is_file()]


def refused(served: Served, clip: bytes) -> None:
    before = kept(served), len(served.services.database.jobs.page(limit=100).jobs)
    answer = served.http.post("/generate", files={"audio": clip})
    problem(answer, 507, "storage_full")
    assert answer.headers["Retry-After"] == "60"
    assert (kept(served), len(served.services.database.jobs.page(limit=100).jobs)) == before


def test_while_the_upload_is_probed(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", no_space)
    refused(served, clip)


def test_while_a_large_body_is_read(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", no_space)
    refused(served, clip + bytes(1_500_000))


def test_while_it_is_stored(served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copyfileobj

    def full(source: object, target: object, length: int = 0) -> None:
        if ".draft-" in str(getattr(target, "name", "")):
            no_space()
        copy(source, target, *([length] if length else []))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    refused(served, clip)


def test_while_the_row_is_written(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.store.idempotency.keep", no_pages)
    before = kept(served)
    answer = served.http.post(
        "/generate", files={"audio": clip}, headers={"Idempotency-Key": "full"}
    )
    problem(answer, 507, "storage_full")
    assert kept(served) == before
