"""The reaper: every few seconds, put back lost jobs, announce those that wait, sweep."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from api.sweeping import tidy
from jobs.job import job_folder
from jobs.queue import wake
from jobs.storage import StorageError
from jobs.uploads import upload_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api.deps import Services
    from jobs.removals import Removal
    from jobs.uploads import Upload

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


def reap_once(services: Services) -> list[str]:
    """One round; answers the jobs that were announced."""
    waiting = services.store.reap()
    for job_id in waiting:
        if not wake(services.queue, job_id):
            break  # the broker is down: the next round tries again
    for removal in [*services.store.due_removals(), *_expired_jobs(services)]:
        remove_objects(services, removal)
    for upload in services.uploads.take_expired():
        remove_upload(services, upload)
    tidy(services)
    services.store.forget_keys()
    return waiting


def _expired_jobs(services: Services) -> list[Removal]:
    days = services.settings.keep_jobs_days
    return services.store.expire_jobs(timedelta(days=days)) if days else []


def remove_objects(services: Services, removal: Removal) -> None:
    """Remove what is stored of a deleted job; where that fails, a later round does it."""
    try:
        services.storage.delete(job_folder(removal.job_id))
    except StorageError as error:
        facts = {"job": removal.job_id, "reason": str(error)}
        logger.warning("objects of a deleted job not removed yet", extra=facts)
    else:
        services.store.removed(removal)


def remove_upload(services: Services, upload: Upload) -> None:
    """Remove a clip that has expired, or as much of it as has come."""
    try:
        services.storage.abandon_parts(upload.key, upload.session)
        services.storage.delete(upload_folder(upload.id))
    except StorageError as error:
        facts = {"upload": upload.id, "reason": str(error)}
        logger.warning("expired upload not removed yet", extra=facts)
    else:
        services.uploads.forget(upload)


async def _reap_until(stop: asyncio.Event, services: Services) -> None:
    while not stop.is_set():
        try:
            await asyncio.to_thread(reap_once, services)
        except Exception:  # the database is away for a moment: the reaper outlives that
            logger.exception("reaping failed")
        try:
            await asyncio.wait_for(stop.wait(), services.settings.reaper_seconds)
        except TimeoutError:
            continue
