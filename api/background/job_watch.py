"""Job watcher: one database query for all requests of this process that wait for a job to change.

A waiter is only a future; it holds no thread, connection or transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.model import JobStatus
from jobs.telemetry import outages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POLL_SECONDS = 0.2
KEY_SECONDS = 1.0  # interval at which the keys of waiting callers are checked
AWAY_SECONDS = 2.0  # poll interval while the database does not answer

ReadActiveKeys = Callable[[Collection[str]], Collection[str]]
ReadStatuses = Callable[[Collection[str]], Mapping[str, JobStatus]]
Condition = Callable[[JobStatus | None], bool]  # None: job not found


class KeyEnded(Exception):
    """The key of a waiting caller was revoked, or has expired."""


@dataclass(frozen=True, eq=False)
class _Waiter:
    job_id: str
    condition: Condition
    key_id: str | None  # None: a caller without a key
    met: asyncio.Future[None]


class JobWatcher:
    """Waiters and the loop that wakes them; `watching` runs it."""

    def __init__(
        self, read_statuses: ReadStatuses, read_active_keys: ReadActiveKeys = frozenset
    ) -> None:
        """read_active_keys: the active ones of these keys; by default all of them."""
        self._read_statuses = read_statuses
        self._read_active_keys = read_active_keys
        self._keys_read_at = float("-inf")
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

    async def until(
        self, job_id: str, condition: Condition, *, seconds: float, key_id: str | None = None
    ) -> bool:
        """Wait until the condition is met; False after `seconds` or when the API shuts down.

        Raises: KeyEnded: within KEY_SECONDS after the key of the caller was revoked.
        """
        if self.closed:
            return False
        met = asyncio.get_running_loop().create_future()
        waiter = _Waiter(job_id, condition, key_id, met)
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
            except Exception as error:  # a short outage of the database must not end the watcher
                outages.report(error, "cannot look after jobs")
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
        outages.over("database")
        for waiter in self._waiters:
            was_read = waiter.job_id in job_ids  # the next poll reads jobs of newer waiters
            if was_read and waiter.condition(statuses.get(waiter.job_id)):
                _wake(waiter)
        await self._end_revoked()

    async def _end_revoked(self) -> None:
        """End the waiters whose key is no longer active."""
        now = asyncio.get_running_loop().time()
        keys = {waiter.key_id for waiter in self._waiters if waiter.key_id is not None}
        if not keys or now < self._keys_read_at + KEY_SECONDS:
            return
        self._keys_read_at = now
        active = await asyncio.to_thread(self._read_active_keys, keys)
        for waiter in self._waiters:
            if waiter.key_id in keys - set(active) and not waiter.met.done():
                waiter.met.set_exception(KeyEnded())


@asynccontextmanager
async def watching(
    read_statuses: ReadStatuses, read_active_keys: ReadActiveKeys = frozenset
) -> AsyncIterator[JobWatcher]:
    """Run a watcher until the block ends."""
    watcher = JobWatcher(read_statuses, read_active_keys)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        watcher.close()
        await task  # a poll in progress ends before the database is closed


def _wake(waiter: _Waiter) -> None:
    if not waiter.met.done():
        waiter.met.set_result(None)
