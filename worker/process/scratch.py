"""Room on the disk for one worker: swept by the next one when a worker was killed.

A lock that nobody holds is proof that its worker is dead, sooner than its lease can tell: so the
next one on this machine also finds the job that it had.
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
NOTE = "job"  # which one, and which attempt at it


@contextmanager
def scratch_room(
    folder: Path, *, orphaned: Callable[[str, int], None] = lambda job_id, attempt: None
) -> Iterator[Path]:
    """A folder of our own below `folder`, gone at the end; those of dead workers go first.

    orphaned: told the job and the attempt that a dead worker had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder, orphaned)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    with (draft / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # before it has the name that sweepers look for
        room = draft.rename(folder / draft.name.replace(".draft-", PREFIX))
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def job_noted(room: Path, job_id: str, attempt: int) -> Iterator[None]:
    """For as long as the block lasts, the next worker finds the job here if this one dies."""
    note = room / NOTE
    with suppress(OSError):  # a full disk: then its lease has to run out
        note.write_text(f"{job_id} {attempt}")
    try:
        yield
    finally:
        with suppress(OSError):
            note.unlink()


def _noted(room: Path) -> tuple[str, int] | None:
    try:
        job_id, attempt = (room / NOTE).read_text().split()
        return job_id, int(attempt)
    except (OSError, ValueError):  # it had none, or was killed while it wrote
        return None


def _sweep(folder: Path, orphaned: Callable[[str, int], None]) -> None:
    for lock in folder.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with lock.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (noted := _noted(lock.parent)) is not None:
                    orphaned(*noted)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # held: that worker lives; or gone: another one swept
            continue
