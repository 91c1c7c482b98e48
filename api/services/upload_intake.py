"""Work on received uploads: separate threads, temporary files, the probe in a child process."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anyio import CapacityLimiter, to_thread

from api.bounds.request import too_large
from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from jobs.sandbox.audio_probe import ClipInfo
    from jobs.settings import Settings

FOLDER = "visavis-upload-"
LEFTOVER_SECONDS = 3600.0  # far more than probing and storing an upload takes

T = TypeVar("T")


class UploadIntake:
    """Threads for the blocking work of uploads, apart from those of other requests."""

    def __init__(self, most: int) -> None:
        """most: places for uploads, so that each has a thread."""
        self._threads = CapacityLimiter(most)

    async def run(self, work: Callable[[], T]) -> T:
        """Run the blocking work of an upload in a thread."""
        return await to_thread.run_sync(work, limiter=self._threads)


class FairSlots:
    """Slots shared by threads; a free one goes to the tenant that uses the fewest.

    Where there are several slots, one tenant uses all but one at most.
    """

    def __init__(self, count: int) -> None:
        self._most = max(1, count - 1)  # of one tenant
        self._free = count
        self._used: Counter[str] = Counter()
        self._waiting: list[tuple[int, str]] = []  # in the order of arrival
        self._arrivals = itertools.count()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, tenant: str) -> Iterator[None]:
        """Hold a slot until the block ends; waits for one."""
        own = (next(self._arrivals), tenant)
        with self._changed:
            self._waiting.append(own)
            self._changed.wait_for(lambda: self._next() == own)
            self._waiting.remove(own)
            self._free -= 1
            self._used[tenant] += 1
            self._changed.notify_all()  # another slot may be free
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._used[tenant] -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[int, str] | None:
        """The waiter that gets the next slot."""
        allowed = [each for each in self._waiting if self._used[each[1]] < self._most]
        if not self._free or not allowed:
            return None
        return min(allowed, key=lambda each: (self._used[each[1]], each[0]))


# Child processes at a time: one for each core, and one more that no single tenant can use.
PROBES = FairSlots(max(2, os.cpu_count() or 2) + 1)


def remove_leftovers() -> None:
    """Remove temporary folders of API processes that were killed during an upload."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):  # another process removed it, or another user owns it
            if time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def saved(source: BinaryIO, *, most: int) -> Iterator[Path]:
    """Save an upload to a temporary file, which is removed when the block ends.

    Raises:
        Problem: when it is larger than `most` bytes.
    """
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        path = Path(folder) / "audio"
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
        if path.stat().st_size > most:
            raise too_large(most)
        yield path


def probed(path: Path, settings: Settings, *, max_seconds: float, tenant: str) -> ClipInfo:
    """Probe the clip in a child process; tenants take turns.

    Raises:
        MediaError: when it is not a supported clip, or too long.
    """
    limits = MediaLimits(max_seconds=max_seconds, wall_seconds=settings.probe_seconds)
    with PROBES.of(tenant):
        return probe(path, limits=limits)
