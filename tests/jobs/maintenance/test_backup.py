"""Backup of a running service, and its restore, on both databases."""

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from jobs.database import open_database
from jobs.db.engine import connect, writing
from jobs.db.tables import metadata
from jobs.maintenance.backup import BackupError, back_up
from jobs.maintenance.restore import read_manifest, restore
from jobs.maintenance.storage_root import prepare_storage
from jobs.model import State
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, open_storage
from jobs.store.api_keys import Scope
from jobs.webhooks.signing import webhook_secret
from tests.api import rows
from tests.api_server import serving, write_person


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    people = write_person(tmp_path / "people", "demo")
    return Settings(data=tmp_path / "data", people=people, database_url=database_url)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Callable[[], Settings]:
    """Lose the database, and return settings of an empty service."""

    def lose() -> Settings:
        url = settings.database_url
        if url.startswith("sqlite"):
            url = f"sqlite:///{tmp_path}/new/visavis.db"
        else:
            engine = connect(url)
            with writing(engine) as connection:
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
            engine.dispose()
        data = tmp_path / "new"
        storage = f"{data.as_uri()}/objects"
        update = {"data": data, "database_url": url, "storage_url": storage}
        return settings.model_copy(update=update)

    return lose


def path_of(link: str) -> str:
    return httpx.URL(link).raw_path.decode()


def test_jobs_downloads_secrets_and_links_survive(
    settings: Settings, elsewhere: Callable[[], Settings], tmp_path: Path
) -> None:
    """The service runs, with one job that has ended, one that runs and one that waits."""
    with serving(settings) as served:
        done = rows.succeeded(served, tmp_path)
        running, waiting = rows.running(served), rows.submit(served)
        link = served.http.get(f"/jobs/{done.id}").json()["outputs"][0]["url"]
        key = served.services.database.api_keys.create("acme", "test", (Scope.READ,))
        secret = webhook_secret(settings.signing_key(), "acme")

        manifest = back_up(settings, tmp_path / "backup")
        later = rows.submit(served)

    clips = sorted(job.input_key for job in (done, running, waiting))
    assert (manifest.jobs, list(manifest.missing)) == (3, clips)  # the rows have no clip
    target = elsewhere()
    restored = restore(target, tmp_path / "backup")

    assert restored.requeued == 1
    assert restored.notes == ("3 objects were missing when the backup was made",)
    assert webhook_secret(target.signing_key(), "acme") == secret
    with serving(target) as served:
        assert served.http.get(f"/jobs/{done.id}").json()["state"] == "succeeded"
        assert served.http.get(path_of(link)).content == rows.VIDEO
        assert served.http.get(f"/jobs/{later.id}").status_code == 404
        assert served.services.database.api_keys.authenticate(key.token) is not None
        again = served.services.database.jobs.get(running.id)
        assert (again.state, again.attempt) == (State.QUEUED, 1)
        assert again.max_attempts == running.max_attempts + 1  # the lost attempt does not count
        assert served.services.database.jobs.get(waiting.id) == waiting


@pytest.fixture
def backed_up(sqlite_url: str, tmp_path: Path) -> Settings:
    settings = Settings(data=tmp_path / "data", database_url=sqlite_url)
    with_object(settings, tmp_path)
    back_up(settings, tmp_path / "backup")
    return settings


def with_object(settings: Settings, folder: Path) -> None:
    storage = open_storage(settings)
    engine = connect(settings.database_url)
    prepare_storage(engine, storage)
    engine.dispose()
    (folder / "clip").write_bytes(b"audio")
    storage.put("jobs/a/input/audio.wav", folder / "clip", "audio/wav")
    storage.close()


def empty(folder: Path) -> Settings:
    return Settings(data=folder)


def test_only_the_owner_can_read_a_backup(backed_up: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    files = [path for path in folder.rglob("*") if path.is_file()]

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_backup_needs_an_empty_folder(backed_up: Settings, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="not empty; name a new folder"):
        back_up(backed_up, tmp_path / "backup")


def damage(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.seek(2)
        file.write(b"?")


@pytest.mark.parametrize("name", ["database.sqlite", "secret", "objects/jobs/a/input/audio.wav"])
def test_a_damaged_backup_is_refused_and_nothing_is_written(
    backed_up: Settings, tmp_path: Path, name: str
) -> None:
    damage(tmp_path / "backup", name)

    with pytest.raises(BackupError, match="damaged, its sha256 differs"):
        restore(empty(tmp_path / "new"), tmp_path / "backup")
    assert not (tmp_path / "new").exists()


def test_an_incomplete_backup_is_refused(backed_up: Settings, tmp_path: Path) -> None:
    (tmp_path / "backup" / "backup.json").unlink()

    with pytest.raises(BackupError, match="the backup is incomplete"):
        restore(empty(tmp_path / "new"), tmp_path / "backup")


def test_a_newer_backup_is_refused(backed_up: Settings, tmp_path: Path) -> None:
    import sqlite3

    from jobs.maintenance import backup

    path = tmp_path / "backup" / "database.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    manifest = read_manifest(tmp_path / "backup")
    files = manifest.files | {"database.sqlite": backup.digest_of(path)}
    text = json.dumps(backup.asdict(replace(manifest, files=files)))
    (tmp_path / "backup" / "backup.json").write_text(text)

    with pytest.raises(BackupError, match="the backup is newer"):
        restore(empty(tmp_path / "new"), tmp_path / "backup")


@pytest.mark.parametrize("full", ["database", "storage", "secret"])
def test_a_target_that_is_not_empty_is_refused(
    backed_up: Settings, tmp_path: Path, full: str
) -> None:
    target = empty(tmp_path / "new")
    if full == "database":
        (tmp_path / "new").mkdir()
        shutil.copyfile(tmp_path / "backup" / "database.sqlite", tmp_path / "new" / "visavis.db")
        database = open_database(target)
        database.api_keys.create("acme", "test", (Scope.READ,))
        database.close()
    elif full == "storage":
        storage = LocalStorage(tmp_path / "new" / "objects", address="", signing_key=b"x")
        (storage.folder / "jobs").mkdir(parents=True)
        (storage.folder / "jobs" / "b").write_bytes(b"audio")
    else:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "secret").write_text("another")

    with pytest.raises(BackupError, match=r"not empty|another signing secret"):
        restore(target, tmp_path / "backup")


def test_a_restore_can_be_repeated_after_an_interruption(
    backed_up: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("jobs.maintenance.restore._restore_rows", interrupt)
        restore(empty(tmp_path / "new"), tmp_path / "backup")

    restore(empty(tmp_path / "new"), tmp_path / "backup")

    stored = open_storage(empty(tmp_path / "new"))
    assert b"".join(stored.open("jobs/a/input/audio.wav")) == b"audio"


def interrupt(*_: object) -> int:
    raise KeyboardInterrupt


@pytest.mark.services
def test_objects_of_a_bucket_are_named_unless_they_are_asked_for(
    s3_settings: Settings, sqlite_url: str, tmp_path: Path
) -> None:
    settings = s3_settings.model_copy(update={"database_url": sqlite_url})
    with_object(settings, tmp_path)

    named = back_up(settings, tmp_path / "named")
    copied = back_up(settings, tmp_path / "copied", objects=True)

    assert (named.objects, copied.objects) == (None, 1)
    assert named.storage.startswith("s3://bucket/")
    restored = restore(empty(tmp_path / "new"), tmp_path / "copied")
    assert restored.notes == ()
    assert (tmp_path / "new/objects/jobs/a/input/audio.wav").read_bytes() == b"audio"


def test_the_commands_print_what_was_copied(backed_up: Settings, tmp_path: Path) -> None:
    def run(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
        environment = {"VISAVIS_DATA": str(data), "PATH": "/usr/bin"}
        command = [sys.executable, "-m", "cli.main", *arguments]
        return subprocess.run(command, env=environment, text=True, capture_output=True)

    done = run("restore", str(tmp_path / "backup"), data=tmp_path / "new")
    again = run("restore", str(tmp_path / "backup"), data=tmp_path / "new")
    made = run("backup", str(tmp_path / "second"), data=tmp_path / "new")

    assert done.returncode == 0, done.stderr
    assert "database with 0 jobs, 1 objects of 5 bytes, signing secret" in done.stdout
    assert made.returncode == 0, made.stderr
    assert "not copied: the people" in made.stdout
    assert again.returncode == 0  # nothing was added since
