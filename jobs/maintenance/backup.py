"""Backup of a running service: database, objects and secret in one folder.

The database is copied first, as of one moment, and always as SQLite, so that it can be restored
into either database. Objects are copied after that: one that a row names exists until the row is
deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from contracts.files import sha256_of
from jobs.db.engine import connect, reading, writing
from jobs.db.identity import database_identity
from jobs.db.migrate import SchemaError, refuse_newer, schema_state, upgrade
from jobs.db.tables import jobs, metadata, uploads
from jobs.model import utc_now
from jobs.storage.factory import LocalStorage, ObjectMissing, open_storage
from jobs.storage.keys import JOBS_FOLDER
from jobs.store.uploads import UPLOADS_FOLDER
from jobs.telemetry.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine, RowMapping

    from jobs.settings import Settings
    from jobs.storage.factory import Storage

FORMAT = 1
MANIFEST, DATABASE = "backup.json", "database.sqlite"
OBJECTS, OBJECT_LIST = "objects", "objects.jsonl"
SECRET, PREVIOUS_SECRET = "secret", "previous-secret"
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
ROWS, PAGE = 500, 1000  # rows in one statement, objects in one listing


class BackupError(RuntimeError):
    """A backup cannot be made or restored; the message contains the fix."""


@dataclass(frozen=True)
class FileDigest:
    """Size and digest of a file of the backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Contents of a backup; it is written last, so a folder without one is incomplete."""

    format: int
    visavis: str
    created_at: str
    schema: str  # the last migration
    identity: str  # of the database
    jobs: int
    storage: str  # URL of the storage, without credentials
    objects: int | None  # number of copied objects; None: they stay in the storage
    object_bytes: int
    missing: tuple[str, ...]  # objects that a row names and the storage does not have
    files: dict[str, FileDigest]


def back_up(settings: Settings, folder: Path, *, objects: bool | None = None) -> Manifest:
    """Write a backup into a new or empty folder; the service may run.

    objects: copy the objects of the storage; None: those of a folder, not those of a bucket.

    Raises:
        BackupError: when the folder is not empty, or the database is not at the schema of this
            program.
        StorageError: when the storage is unavailable.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder}: not empty; name a new folder")
    state = schema_state(settings.database_url)
    try:
        refuse_newer(state)
    except SchemaError as error:
        raise BackupError(str(error)) from error
    if state.current is None or state.pending:
        raise BackupError("the database is not at the newest schema; run `visavis-server migrate`")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(PRIVATE_FOLDER)
    _copy_database(settings.database_url, folder / DATABASE)
    copied = open_copy(folder / DATABASE)
    with closing(open_storage(settings)) as storage:
        if objects is None:
            objects = isinstance(storage, LocalStorage)
        count, size = _copy_objects(storage, folder) if objects else (None, 0)
        missing = _missing(copied, storage, folder if objects else None)
    _write_secrets(settings, folder)
    identity, number = database_identity(copied), _count(copied)
    copied.dispose()
    manifest = Manifest(
        format=FORMAT,
        visavis=version("visavis-server"),
        created_at=utc_now().isoformat(),
        schema=state.current,
        identity=identity,
        jobs=number,
        storage=redact(settings.storage_url),
        objects=count,
        object_bytes=size,
        missing=tuple(missing),
        files={name: digest_of(folder / name) for name in _files(folder)},
    )
    text = json.dumps(asdict(manifest), indent=1)
    write_private(folder / MANIFEST, text.encode())
    return manifest


def open_copy(path: Path) -> Engine:
    """Open the database of a backup."""
    return connect(f"sqlite:///{path}")


def digest_of(path: Path) -> FileDigest:
    """Return size and digest of a file."""
    return FileDigest(path.stat().st_size, sha256_of(path))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, and sync it to disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def copy_rows(source: Connection, target: Connection) -> None:
    """Copy the rows of all tables; those of the target are replaced."""
    for table in reversed(metadata.sorted_tables):
        target.execute(table.delete())
    for table in metadata.sorted_tables:
        rows = source.execution_options(yield_per=ROWS).execute(sa.select(table)).mappings()
        for part in rows.partitions(ROWS):
            target.execute(table.insert(), [dict(row) for row in part])


def _copy_database(url: str, path: Path) -> None:
    engine = connect(url)
    try:
        write_private(path, b"")
        if engine.dialect.name == "sqlite":
            _copy_sqlite(str(engine.url.database), path)
        else:
            _export(engine, path)
    finally:
        engine.dispose()


def _copy_sqlite(source: str, path: Path) -> None:
    """Copy in one step: writers go on meanwhile, and are not part of the copy."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(path)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file


def _export(engine: Engine, path: Path) -> None:
    """Export all rows as of one moment."""
    upgrade(f"sqlite:///{path}")
    copy = open_copy(path)
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with engine.connect().execution_options(**options) as source, writing(copy) as target:
            copy_rows(source, target)
    finally:
        copy.dispose()


def _copy_objects(storage: Storage, folder: Path) -> tuple[int, int]:
    """Copy every object, with a list of sizes and digests; return number and bytes."""
    count = size = 0
    lines = []
    for prefix in (JOBS_FOLDER, UPLOADS_FOLDER):
        for key in keys_below(storage, prefix):
            copied = _copy_object(storage, key, folder / OBJECTS / key)
            if copied is None:
                continue
            count, size = count + 1, size + copied.bytes
            lines.append(json.dumps({"key": key, **asdict(copied)}) + "\n")
    write_private(folder / OBJECT_LIST, "".join(lines).encode())
    return count, size


def keys_below(storage: Storage, prefix: str) -> Iterator[str]:
    """Yield the keys of all objects below a folder."""
    after = None
    while page := storage.page(prefix, after=after, limit=PAGE):
        yield from (each.key for each in page)
        after = page[-1].key


def _copy_object(storage: Storage, key: str, path: Path) -> FileDigest | None:
    """Copy an object; None when it was deleted in the meantime."""
    digest, size = hashlib.sha256(), 0
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in storage.open(key):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
    except (ObjectMissing, FileNotFoundError):
        path.unlink(missing_ok=True)
        return None
    return FileDigest(size, digest.hexdigest())


def _missing(copy: Engine, storage: Storage, folder: Path | None) -> list[str]:
    """Return objects that a row names and that are missing: in the backup, or in the storage."""

    def exists(key: str) -> bool:
        if folder is not None:
            return (folder / OBJECTS / key).is_file()
        try:
            storage.stat(key)
        except ObjectMissing:
            return False
        return True

    with reading(copy) as connection:
        named = {key for row in connection.execute(sa.select(jobs)).mappings() for key in _of(row)}
        ready = sa.select(uploads.c.key).where(uploads.c.sha256.is_not(None))
        named |= set(connection.execute(ready).scalars())
    return sorted(key for key in named if not exists(key))


def _of(row: RowMapping) -> list[str]:
    """Keys of the objects that a job's row names."""
    keys = [] if row["input_expired_at"] else [row["input_key"], row["partner_key"]]
    if not row["outputs_expired_at"]:
        keys += [row["motion_key"], *_complete(row["outputs"])]
    return [key for key in keys if key and not key.startswith(f"{UPLOADS_FOLDER}/")]


def _complete(outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of outputs that are not being written."""
    return [output["key"] for output in outputs if output.get("pieces") is None]


def _write_secrets(settings: Settings, folder: Path) -> None:
    current, *previous = settings.signing_keys()
    write_private(folder / SECRET, current)
    for secret in previous:
        write_private(folder / PREVIOUS_SECRET, secret)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def _count(copy: Engine) -> int:
    with reading(copy) as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one()
