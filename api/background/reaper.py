"""The reaper: every few seconds, put back lost jobs, announce those that wait, sweep."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jobs.maintenance.reaper import maintain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.dependencies import Services

logger = logging.getLogger(__name__)


@asynccontextmanager
async def reaping(services: Services) -> AsyncIterator[None]:
    """Reap for as long as the block lasts; every API process does, and they do not disturb."""
    stop = asyncio.Event()
    task = asyncio.create_task(_reap_until(stop, services))
    try:
        yield
    finally:
        stop.set()
        await task  # a reaping that has begun ends before the database is closed


async def _reap_until(stop: asyncio.Event, services: Services) -> None:
    while not stop.is_set():
        try:
            await asyncio.to_thread(maintain, services.maintenance)
        except Exception:  # the database is away for a moment: the reaper outlives that
            logger.exception("reaping failed")
        try:
            await asyncio.wait_for(stop.wait(), services.settings.reaper_seconds)
        except TimeoutError:
            continue
