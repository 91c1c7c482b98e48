"""`visavis-server backup` and `restore`: the whole service in one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from cli.console import FAILED, MISUSED, fail, make_console, read_settings, warn
from jobs.maintenance.backup import BackupError, back_up
from jobs.maintenance.restore import restore
from jobs.storage.factory import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    from jobs.maintenance.backup import Manifest

    T = TypeVar("T")


def run_backup(folder: Path, *, objects: bool | None) -> None:
    """Write a backup and print what it contains."""
    settings = read_settings()
    manifest = _done(lambda: back_up(settings, folder, objects=objects))
    _print(f"{folder}: {_contents(manifest)}")
    if manifest.objects is None:
        _print(f"not copied: the objects in {manifest.storage}; back the bucket up, too")
    _print(f"not copied: the people in {settings.people}")
    if manifest.missing:
        first = manifest.missing[0]
        warn(f"{len(manifest.missing)} objects that jobs name are missing, such as {first}")


def run_restore(folder: Path) -> None:
    """Restore a backup and print what it contained."""
    settings = read_settings()
    restored = _done(lambda: restore(settings, folder))
    _print(f"restored {_contents(restored.manifest)}; requeued {restored.requeued} running jobs")
    for note in restored.notes:
        warn(note)


def _contents(manifest: Manifest) -> str:
    objects = "no objects"
    if manifest.objects is not None:
        objects = f"{manifest.objects} objects of {manifest.object_bytes} bytes"
    return f"database with {manifest.jobs} jobs, {objects}, signing secret"


def _done(work: Callable[[], T]) -> T:
    try:
        return work()
    except BackupError as error:
        fail(str(error), MISUSED)
    except (StorageError, OSError) as error:
        fail(str(error), FAILED)
    except OperationalError as error:
        fail(f"the database does not respond: {error.orig}")


def _print(line: str) -> None:
    make_console().print(line, soft_wrap=True)
