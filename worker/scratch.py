"""Room on the disk for one worker: swept by the next one when a worker was killed."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "worker-"
LOCK = "lock"


@contextmanager
def scratch_room(folder: Path) -> Iterator[Path]:
    """A folder of our own below `folder`, gone at the end; those of dead workers go first."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    with (draft / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # before it has the name that sweepers look for
        room = draft.rename(folder / draft.name.replace(".draft-", PREFIX))
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for lock in folder.glob(f"{PREFIX}*/{LOCK}"):
        try:
            with lock.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # held: that worker lives; or gone: another one swept
            continue


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """A file beside the place that takes it when it is whole."""
    draft = place.with_name(f".{place.name}.part")
    try:
        yield draft
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
