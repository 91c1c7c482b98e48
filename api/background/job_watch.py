"""Waiting for jobs to change: one look at the database for everybody who waits in this process.

A waiter is a future and nothing else: no thread, no connection, no transaction.
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

EVERY_SECONDS = 0.2
AWAY_SECONDS = 2.0  # while the database does not answer

Look = Callable[[Collection[str]], Mapping[str, JobStatus]]
Condition = Callable[[JobStatus | None], bool]  # None: there is no such job


@dataclass(frozen=True, eq=False)
class _Waiter:
    job_id: str
    condition: Condition
    met: asyncio.Future[None]


class JobWatcher:
    """Who waits for which job; `watching` runs it."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._waiters: set[_Waiter] = set()
        self._wanted = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the API leaves."""
        return self._over.is_set()

    @property
    def waiting(self) -> int:
        """How many wait just now."""
        return len(self._waiters)

    async def until(self, job_id: str, condition: Condition, *, seconds: float) -> bool:
        """Wait until the condition is met; False when that took too long, or the API leaves."""
        if self.closed:
            return False
        waiter = _Waiter(job_id, condition, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        self._wanted.set()
        try:
            async with asyncio.timeout(seconds):
                await waiter.met
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return not self.closed

    def close(self) -> None:
        """Let everybody go; whoever comes later does not wait."""
        self._over.set()
        self._wanted.set()
        for waiter in self._waiters:
            _let_go(waiter)

    async def run(self) -> None:
        """Look while somebody waits, until the watch is closed."""
        while not self.closed:
            pause = EVERY_SECONDS
            try:
                await self._look_once()
            except Exception:  # the database is away for a moment: the watch outlives that
                logger.exception("cannot look after jobs")
                pause = AWAY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._over.wait()
            if not self._waiters and not self.closed:
                self._wanted.clear()
            await self._wanted.wait()

    async def _look_once(self) -> None:
        asked = {waiter.job_id for waiter in self._waiters}
        if not asked:
            return
        statuses = await asyncio.to_thread(self._look, asked)
        for waiter in self._waiters:
            known = waiter.job_id in asked  # those who came meanwhile are looked after next time
            if known and waiter.condition(statuses.get(waiter.job_id)):
                _let_go(waiter)


@asynccontextmanager
async def watching(look: Look) -> AsyncIterator[JobWatcher]:
    """A watch that looks for as long as the block lasts."""
    watch = JobWatcher(look)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        watch.close()
        await task  # a look that has begun ends before the database is closed


def _let_go(waiter: _Waiter) -> None:
    if not waiter.met.done():
        waiter.met.set_result(None)
