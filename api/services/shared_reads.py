"""Shared reads: streams of one job that wake at the same time read it once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from starlette.concurrency import run_in_threadpool

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")


class SharedReads(Generic[T]):
    """Registry of reads in threads; callers with an equal key share a read that has not ended.

    A shared read may have begun before a change that its caller knows of. Callers compare the
    result with the next status, so they read again.
    """

    def __init__(self) -> None:
        self._reading: dict[Hashable, asyncio.Task[T]] = {}

    async def of(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return the result of `read`, or raise its error, for every caller of the key."""
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(run_in_threadpool(read))
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)  # a caller that leaves does not cancel it for others

    def _end(self, key: Hashable, task: asyncio.Task[T]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # noted, even if all callers have left
