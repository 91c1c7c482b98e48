"""Scratch folder of one worker, locked while the worker lives.

The folder of a killed worker has an open lock. The next worker on this machine removes the folder
and releases the job that was recorded in it, before the lease of the job expires.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX = "worker-"
LOCK = "lock"
RECORD = "job"  # file with the job id and the number of the attempt


@contextmanager
def scratch_folder(
    parent: Path, *, on_orphan: Callable[[str, int], None] = lambda job_id, attempt: None
) -> Iterator[Path]:
    """Create a folder below `parent` and remove it at the end; first remove those of dead workers.

    on_orphan: called with the job id and attempt of each dead worker.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent, on_orphan)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=parent))
    with (draft / LOCK).open("w") as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # it is locked before it has the name that _sweep looks for
        folder = draft.rename(parent / draft.name.replace(".draft-", PREFIX))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def recorded_job(folder: Path, job_id: str, attempt: int) -> Iterator[None]:
    """Record the job in the scratch folder, so that the next worker finds it if this one dies."""
    record = folder / RECORD
    with suppress(OSError):  # the disk may be full; an orphaned job then waits for its lease
        record.write_text(f"{job_id} {attempt}")
    try:
        yield
    finally:
        with suppress(OSError):
            record.unlink()


def _read_record(folder: Path) -> tuple[str, int] | None:
    try:
        job_id, attempt = (folder / RECORD).read_text().split()
        return job_id, int(attempt)
    except (OSError, ValueError):  # the worker had no job, or was killed while writing
        return None


def _sweep(parent: Path, on_orphan: Callable[[str, int], None]) -> None:
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with lock.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (job := _read_record(lock.parent)) is not None:
                    on_orphan(*job)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # its worker holds the lock, or another worker has removed the folder
            continue
