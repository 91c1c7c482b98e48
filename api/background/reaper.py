"""Reaper task: run a maintenance round every few seconds."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jobs.maintenance.reaper import maintain
from jobs.telemetry import outages
from jobs.telemetry.metrics import MAINTENANCE
from jobs.telemetry.prometheus import count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.dependencies import Services


@asynccontextmanager
async def reaping(services: Services) -> AsyncIterator[None]:
    """Run the reaper until the block ends; several API processes may run it at the same time."""
    stop = asyncio.Event()
    task = asyncio.create_task(_reap_until(stop, services))
    try:
        yield
    finally:
        stop.set()
        await task  # a round in progress ends before the database is closed


async def _reap_until(stop: asyncio.Event, services: Services) -> None:
    while not stop.is_set():
        try:
            await asyncio.to_thread(maintain, services.maintenance)
            outages.over("database")
            count(MAINTENANCE, outcome="done")
        except Exception as error:  # a short outage of the database must not end the reaper
            outages.report(error, "reaping failed")
            count(MAINTENANCE, outcome="failed")
        try:
            await asyncio.wait_for(stop.wait(), services.settings.reaper_seconds)
        except TimeoutError:
            continue
