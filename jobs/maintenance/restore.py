"""Restore of a backup into an empty service, in either database and either storage."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jobs.db.engine import connect, reading, writing
from jobs.db.migrate import SchemaError, refuse_newer, schema_state, upgrade
from jobs.db.tables import api_keys, batches, jobs, metadata, tenants, uploads
from jobs.maintenance.backup import (
    DATABASE,
    FORMAT,
    MANIFEST,
    OBJECT_LIST,
    OBJECTS,
    PREVIOUS_SECRET,
    PRIVATE_FOLDER,
    SECRET,
    BackupError,
    FileDigest,
    Manifest,
    copy_rows,
    digest_of,
    keys_below,
    open_copy,
    write_private,
)
from jobs.model import State
from jobs.storage.base import content_type_of
from jobs.storage.factory import LocalStorage, open_storage
from jobs.storage.keys import JOBS_FOLDER
from jobs.store.job_rows import NOT_IN_WORK
from jobs.store.uploads import UPLOADS_FOLDER

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.storage.factory import Storage

OF_CALLERS = (jobs, uploads, batches, api_keys, tenants)  # tables that a new database has empty


@dataclass(frozen=True)
class Restored:
    """A restored backup, and what is left to the operator."""

    manifest: Manifest
    requeued: int  # jobs that were running
    notes: tuple[str, ...]


def restore(settings: Settings, folder: Path) -> Restored:
    """Restore a backup; nothing is written unless the backup is intact and the target empty.

    The database is written last. A restore that was interrupted can be repeated.

    Raises:
        BackupError: when the backup is incomplete, damaged or newer, or the target is not empty.
        StorageError: when the storage is unavailable.
    """
    manifest = read_manifest(folder)
    listed = _check_files(folder, manifest)
    _check_database(settings.database_url)
    with tempfile.TemporaryDirectory(prefix="visavis-") as scratch:
        copy = Path(scratch) / DATABASE
        shutil.copyfile(folder / DATABASE, copy)
        _migrate(copy)
        with closing(open_storage(settings.model_copy(update=_unused_secret(settings)))) as storage:
            _check_storage(storage, manifest, listed)
            notes = _restore_secrets(settings, folder)
            _restore_objects(storage, folder, listed, manifest.identity)
        requeued = _restore_rows(copy, settings.database_url)
    if manifest.objects is None:
        notes.append(f"objects were not copied; they have to be in {manifest.storage}")
    if manifest.missing:
        notes.append(f"{len(manifest.missing)} objects were missing when the backup was made")
    return Restored(manifest, requeued, tuple(notes))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest. Raises: BackupError: when it is missing, invalid or newer."""
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        found = content["format"]
        files = {name: FileDigest(**each) for name, each in content["files"].items()}
        missing = tuple(content["missing"])
        if found == FORMAT:
            return Manifest(**content | {"files": files, "missing": missing})
    except FileNotFoundError:
        raise BackupError(
            f"{folder}: {MANIFEST} not found, so the backup is incomplete; name a folder that "
            "`visavis-server backup` has finished"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{folder / MANIFEST}: cannot be read ({error})") from error
    raise BackupError(f"{folder}: unknown format {found}; install a newer version of visavis")


def _check_files(folder: Path, manifest: Manifest) -> dict[str, FileDigest]:
    """Check all digests; return those of the objects by key."""
    for name, expected in manifest.files.items():
        _check(folder / name, expected)
    if DATABASE not in manifest.files or SECRET not in manifest.files:
        raise BackupError(f"{folder}: the manifest names no {DATABASE} or {SECRET}")
    if manifest.objects is None:
        return {}
    lines = (folder / OBJECT_LIST).read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    listed = {each["key"]: FileDigest(each["bytes"], each["sha256"]) for each in entries}
    for key, expected in listed.items():
        _check(folder / OBJECTS / key, expected)
    return listed


def _check(path: Path, expected: FileDigest) -> None:
    if not path.is_file():
        raise BackupError(f"{path}: missing; copy the whole backup again")
    if digest_of(path) != expected:
        raise BackupError(f"{path}: damaged, its sha256 differs; copy the backup again")


def _check_database(url: str) -> None:
    state = schema_state(url)
    try:
        refuse_newer(state)
    except SchemaError as error:
        raise BackupError(str(error)) from error
    if state.current is None:
        return
    engine = connect(url)
    try:
        with reading(engine) as connection:
            present = set(sa.inspect(connection).get_table_names())
            for table in OF_CALLERS:
                if (
                    table.name in present
                    and connection.execute(
                        sa.select(sa.literal(1)).select_from(table).limit(1)
                    ).first()
                ):
                    raise BackupError(
                        f"the database is not empty: it has {table.name}; restore into a new one"
                    )
    finally:
        engine.dispose()


def _migrate(copy: Path) -> None:
    url = f"sqlite:///{copy}"
    try:
        refuse_newer(schema_state(url))
    except SchemaError as error:
        raise BackupError(f"the backup is newer: {error}") from error
    upgrade(url)


def _check_storage(storage: Storage, manifest: Manifest, listed: dict[str, FileDigest]) -> None:
    owner = storage.owner()
    if owner not in (None, manifest.identity):
        raise BackupError(
            "the storage belongs to another database; set VISAVIS_STORAGE_URL to an empty one"
        )
    if manifest.objects is None:
        return
    if owner is None and isinstance(storage, LocalStorage):
        if _has_unmarked_files(storage):
            raise BackupError(
                f"the storage is not empty: {storage.folder} has files; set VISAVIS_STORAGE_URL to "
                "an empty one"
            )
        return
    for prefix in (JOBS_FOLDER, UPLOADS_FOLDER):
        for key in keys_below(storage, prefix):
            if key not in listed:
                raise BackupError(
                    f"the storage is not empty: it has {key}; set VISAVIS_STORAGE_URL to an empty "
                    "one"
                )


def _has_unmarked_files(storage: LocalStorage) -> bool:
    """Return whether a folder without a root contains objects."""
    folders = [storage.folder / prefix for prefix in (JOBS_FOLDER, UPLOADS_FOLDER)]
    return any(path.is_file() for folder in folders for path in folder.rglob("*"))


def _unused_secret(settings: Settings) -> dict[str, Any]:
    """Signing key for the restore, which signs no link: it must not create `<data>/secret`."""
    from pydantic import SecretStr

    return {} if settings.signing_secret else {"signing_secret": SecretStr("unused")}


def _restore_secrets(settings: Settings, folder: Path) -> list[str]:
    """Write the signing secret, unless the settings contain one; return notes."""
    secret, path = (folder / SECRET).read_bytes(), settings.data / "secret"
    notes = []
    if (folder / PREVIOUS_SECRET).is_file():
        notes.append(
            "the backup has a previous signing secret: set VISAVIS_PREVIOUS_SIGNING_SECRET_FILE to "
            f"a copy of {folder / PREVIOUS_SECRET}"
        )
    if settings.signing_secret is not None:
        if settings.signing_key() != secret:
            notes.append(
                "VISAVIS_SIGNING_SECRET differs from the backup's, so webhook secrets and signed "
                f"links change; to keep them, set VISAVIS_SIGNING_SECRET_FILE to {folder / SECRET}"
            )
        return notes
    if path.exists():
        if path.read_bytes() != secret:
            raise BackupError(f"{path}: another signing secret; restore into a new VISAVIS_DATA")
        return notes
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    write_private(path, secret)
    return notes


def _restore_objects(
    storage: Storage, folder: Path, listed: dict[str, FileDigest], identity: str
) -> None:
    if isinstance(storage, LocalStorage):
        storage.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    storage.make_root(identity)
    for key in listed:
        storage.put(key, folder / OBJECTS / key, content_type_of(key))


def _restore_rows(copy: Path, url: str) -> int:
    """Write all rows in one transaction; jobs that were running are queued again, uncounted."""
    upgrade(url)
    source, target = open_copy(copy), connect(url)
    running = jobs.c.state == State.RUNNING
    again = {
        **NOT_IN_WORK,
        "state": State.QUEUED,
        "max_attempts": jobs.c.max_attempts + 1,
    }
    try:
        with reading(source) as connection, writing(target) as restored:
            assert metadata.sorted_tables
            copy_rows(connection, restored)
            return restored.execute(jobs.update().where(running).values(again)).rowcount
    finally:
        source.dispose()
        target.dispose()
