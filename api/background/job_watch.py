"""Job watcher: one database query for all requests of this process that wait for a job to change.

A waiter is only a future; it holds no thread, connection or transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.model import JobStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
AWAY_SECONDS = 2.0  # poll interval while the database does not answer

ReadStatuses = Callable[[Collection[str]], Mapping[str, JobStatus]]
Condition = Callable[[JobStatus | None], bool]  # None: job not found


@dataclass(frozen=True, eq=False)
class _Waiter:
    job_id: str
    condition: Condition
    met: asyncio.Future[None]


class JobWatcher:
    """Waiters and the loop that wakes them; `watching` runs it."""

    def __init__(self, read_statuses: ReadStatuses) -> None:
        self._read_statuses = read_statuses
        self._waiters: set[_Waiter] = set()
        self._has_waiters = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """True once the API shuts down."""
        return self._closed.is_set()

    @property
    def waiting(self) -> int:
        """Current number of waiters."""
        return len(self._waiters)

    async def until(self, job_id: str, condition: Condition, *, seconds: float) -> bool:
        """Wait until the condition is met; False after `seconds` or when the API shuts down."""
        if self.closed:
            return False
        waiter = _Waiter(job_id, condition, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        self._has_waiters.set()
        try:
            async with asyncio.timeout(seconds):
                await waiter.met
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return not self.closed

    def close(self) -> None:
        """Wake all waiters; later calls of `until` return at once."""
        self._closed.set()
        self._has_waiters.set()
        for waiter in self._waiters:
            _wake(waiter)

    async def run(self) -> None:
        """Poll the database while there are waiters, until `close`."""
        while not self.closed:
            pause = POLL_SECONDS
            try:
                await self._poll()
            except Exception:  # a short outage of the database must not end the watcher
                logger.exception("cannot look after jobs")
                pause = AWAY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closed.wait()
            if not self._waiters and not self.closed:
                self._has_waiters.clear()
            await self._has_waiters.wait()

    async def _poll(self) -> None:
        job_ids = {waiter.job_id for waiter in self._waiters}
        if not job_ids:
            return
        statuses = await asyncio.to_thread(self._read_statuses, job_ids)
        for waiter in self._waiters:
            was_read = waiter.job_id in job_ids  # the next poll reads jobs of newer waiters
            if was_read and waiter.condition(statuses.get(waiter.job_id)):
                _wake(waiter)


@asynccontextmanager
async def watching(read_statuses: ReadStatuses) -> AsyncIterator[JobWatcher]:
    """Run a watcher until the block ends."""
    watcher = JobWatcher(read_statuses)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        watcher.close()
        await task  # a poll in progress ends before the database is closed


def _wake(waiter: _Waiter) -> None:
    if not waiter.met.done():
        waiter.met.set_result(None)
