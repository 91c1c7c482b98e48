"""Uploads leave nothing behind: objects without a row, late parts, sessions without a row."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.db.engine import writing
from jobs.db.tables import uploads
from jobs.maintenance.context import MaintenanceContext, open_context
from jobs.maintenance.sweep import sweep_uploads
from jobs.model import utc_now
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage
from jobs.store.uploads import new_upload_id, upload_key

A_MOMENT = 1e-9  # days


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.services)])
def context(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path
) -> Iterator[MaintenanceContext]:
    settings = (
        Settings(data=tmp_path)
        if request.param == "folder"
        else request.getfixturevalue("s3_settings")
    )
    changed = {"database_url": sqlite_url, "keep_leftovers_days": A_MOMENT}
    with open_context(settings.model_copy(update=changed)) as opened:
        yield opened


def store(context: MaintenanceContext, key: str, folder: Path) -> None:
    (folder / "object").write_bytes(b"audio")
    context.storage.put(key, folder / "object", "application/octet-stream")


def keys(context: MaintenanceContext) -> list[str]:
    return [each.key for each in context.storage.page("uploads", after=None, limit=100)]


def announced(context: MaintenanceContext) -> str:
    upload_id = new_upload_id()
    session = context.storage.begin_parts(upload_key(upload_id))
    context.database.uploads.add(
        "local", bytes=5, upload_id=upload_id, session=session, seconds=600, filename=None
    )
    return upload_id


def make_ready(context: MaintenanceContext, upload_id: str) -> None:
    this = uploads.c.id == upload_id
    with writing(context.database.engine) as connection:
        connection.execute(uploads.update().where(this).values(sha256="0" * 64, seconds=1.0))


def test_objects_without_a_row_are_removed(context: MaintenanceContext, tmp_path: Path) -> None:
    open_one, ready = announced(context), announced(context)
    make_ready(context, ready)
    kept = {f"{upload_key(open_one)}.part-1", upload_key(ready)}
    lost = {upload_key(new_upload_id()), f"{upload_key(ready)}.part-1"}
    for key in kept | lost:
        store(context, key, tmp_path)

    removed = sweep_uploads(context)

    assert removed == len(lost)
    assert set(keys(context)) == kept
    assert sweep_uploads(context) == 0  # due again in hours


def test_young_objects_stay(context: MaintenanceContext, tmp_path: Path) -> None:
    store(context, upload_key(new_upload_id()), tmp_path)
    found = context.storage.page("uploads", after=None, limit=10)

    assert context.database.uploads.orphans(found, timedelta(days=1)) == []


@pytest.mark.services
def test_sessions_without_a_row_are_ended(
    s3_settings: Settings, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process was killed between the beginning of the session and its row."""
    changed = {"database_url": sqlite_url, "keep_leftovers_days": A_MOMENT}
    with open_context(s3_settings.model_copy(update=changed)) as context:
        kept = announced(context)
        context.storage.begin_parts(upload_key(new_upload_id()))
        assert len(context.storage.part_sessions("uploads")) == 2

        sweep_uploads(context)

        (left,) = context.storage.part_sessions("uploads")
    assert left.key == upload_key(kept)
    assert left.begun <= utc_now()


def test_the_storage_of_another_database_is_left_alone(
    context: MaintenanceContext, tmp_path: Path
) -> None:
    (tmp_path / "identity").write_text("another")
    context.storage.put("database.txt", tmp_path / "identity", "text/plain")
    store(context, upload_key(new_upload_id()), tmp_path)

    assert sweep_uploads(context) == 0
    assert len(keys(context)) == 1


def test_a_draft_of_a_killed_process_is_removed_after_a_day(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = Settings(data=tmp_path, database_url=sqlite_url)
    with open_context(settings) as context:
        assert isinstance(context.storage, LocalStorage)
        folder = context.storage.folder / "uploads" / new_upload_id()
        folder.mkdir(parents=True)
        draft = folder / ".draft-1"
        draft.write_bytes(b"half a part")
        two_days_ago = time.time() - 2 * 86_400
        os.utime(draft, (two_days_ago, two_days_ago))

        sweep_uploads(context)

        assert not draft.exists()
