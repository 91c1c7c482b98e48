"""Scratch folder of one worker, locked while the worker lives.

The folder of a killed worker has an open lock. The next worker on this machine removes the folder
and releases the jobs that were recorded in it, before the lease of a job expires.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.files import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

PREFIX = "worker-"
LOCK = "lock"
RECORD = ".attempt"  # suffix of a file with a job id and the number of the attempt


class ScratchFolder:
    """The locked folder of this worker below `parent`."""

    def __init__(self, parent: Path) -> None:
        private_folder(parent)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=parent))
        self._lock = _locked(draft / LOCK)  # before it has the name that `sweep` looks for
        self.path = draft.rename(parent / draft.name.replace(".draft-", PREFIX))

    def restore(self) -> bool:
        """Make a folder that something has removed again; True if it was missing.

        Raises: OSError: when that fails.
        """
        if (self.path / LOCK).exists():
            return False
        private_folder(self.path.parent)
        self.path.mkdir(mode=0o700, exist_ok=True)
        draft = self.path / ".lock"
        self._lock.close()
        self._lock = _locked(draft)
        draft.rename(self.path / LOCK)
        return True

    def close(self) -> None:
        """Remove the folder and its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


@contextmanager
def scratch_folder(
    parent: Path, *, on_orphan: Callable[[str, int], bool] = lambda job_id, attempt: True
) -> Iterator[ScratchFolder]:
    """Create a folder below `parent` and remove it at the end; first remove those of dead workers.

    on_orphan: called with the job id and attempt of each dead worker.
    """
    sweep(parent, on_orphan)
    folder = ScratchFolder(parent)
    try:
        yield folder
    finally:
        folder.close()


def _locked(path: Path) -> IO[str]:
    lock = path.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


@contextmanager
def recorded_job(folder: Path, job_id: str, attempt: int) -> Iterator[None]:
    """Record the job in the scratch folder, so that the next worker finds it if this one dies."""
    record = folder / f"{job_id}{RECORD}"
    with suppress(OSError):  # the disk may be full; an orphaned job then waits for its lease
        record.write_text(f"{job_id} {attempt}")
    try:
        yield
    finally:
        with suppress(OSError):
            record.unlink()


def _read_records(folder: Path) -> list[tuple[str, int]]:
    records = []
    for path in sorted(folder.glob(f"*{RECORD}")):
        with suppress(OSError, ValueError):  # the worker was killed while writing
            job_id, attempt = path.read_text().split()
            records.append((job_id, int(attempt)))
    return records


def sweep(parent: Path, on_orphan: Callable[[str, int], bool]) -> None:
    """Remove the folders of dead workers below `parent`, after `on_orphan` with each of their jobs.

    A folder stays for a later sweep if `on_orphan` returns False for one of them.
    """
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with lock.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                released = [on_orphan(*record) for record in _read_records(lock.parent)]
                if all(released):
                    shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # its worker holds the lock, or another worker has removed the folder
            continue
