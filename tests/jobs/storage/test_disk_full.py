"""Recognition of a full disk, database or bucket."""

import errno
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from jobs.database import stores_on
from jobs.db.engine import connect
from jobs.db.migrate import upgrade
from jobs.settings import Settings
from jobs.storage.disk_full import is_full
from jobs.storage.factory import S3Storage, StorageError, StorageFull, open_storage
from tests.jobs.rows import submit


def test_an_sqlite_file_that_cannot_grow_is_full(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'visavis.db'}"
    upgrade(url)
    engine = connect(url)

    def limit_pages(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    sa.event.listen(engine, "begin", limit_pages)
    database = stores_on(engine)
    with pytest.raises(OperationalError) as refused:
        for _ in range(200):
            submit(database)
    database.close()

    assert is_full(refused.value)


def test_a_full_postgresql_is_recognised_by_its_sqlstate() -> None:
    full = OperationalError("insert", {}, _psycopg("53100"))
    away = OperationalError("insert", {}, _psycopg("57P01"))

    assert (is_full(full), is_full(away), is_full(None)) == (True, False, False)


def test_an_error_that_is_its_own_cause_ends_the_search() -> None:
    error = RuntimeError("killed")
    error.__cause__ = error

    assert is_full(error) is False


def _psycopg(sqlstate: str) -> Exception:
    error = Exception("refused")
    error.sqlstate = sqlstate
    return error


def test_a_full_folder_keeps_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(Settings(data=tmp_path))
    storage.make_root("identity")
    (tmp_path / "clip").write_bytes(b"sound")

    def full(source: object, target: object, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(StorageFull, match="No space left on device"):
        storage.put("jobs/a/input/audio.wav", tmp_path / "clip", "audio/wav")

    files = [path.name for path in storage.folder.rglob("*") if path.is_file()]
    assert files == ["database.txt"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (507, "XMinioStorageFull", StorageFull),
        (403, "QuotaExceeded", StorageFull),
        (403, "AccessDenied", StorageError),
    ],
)
def test_a_full_bucket_and_a_forbidden_one_raise_different_errors(
    tmp_path: Path, status: int, code: str, kind: type[Exception]
) -> None:
    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    answer = SimpleNamespace(status_code=status, headers={}, content=_refusal(code), text="")
    client.meta.events.register("before-send.s3.PutObject", lambda **_: answer)
    (tmp_path / "clip").write_bytes(b"sound")

    with pytest.raises(StorageError) as refused:
        S3Storage(client, bucket="bucket").put("jobs/a/x.wav", tmp_path / "clip", "audio/wav")
    client.close()

    assert type(refused.value) is kind


def _refusal(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
