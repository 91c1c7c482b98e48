"""Removal by age: expired clips and outputs, and orphaned objects.

Rows are marked first, objects are removed after that. Objects that remain because of a crash or a
storage outage are found by the sweep, which pages through the whole storage a few times a day.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.db.identity import is_identity
from jobs.storage.factory import StorageError
from jobs.storage.keys import JOBS_FOLDER, attempt_folder, input_folder
from jobs.store.uploads import UPLOADS_FOLDER

if TYPE_CHECKING:
    from jobs.maintenance.context import MaintenanceContext

logger = logging.getLogger(__name__)

SWEEP, SWEEP_UPLOADS = "sweep", "sweep-uploads"
PAGE = 1000  # objects checked in one round
EVERY = timedelta(hours=6)  # through the whole storage
SESSION_AGE = timedelta(days=1)  # of a multipart upload whose row was never written


def tidy(context: MaintenanceContext) -> int:
    """Expire and sweep; return the number of orphaned objects removed, 0 without storage."""
    try:
        expire(context)
        return sweep(context) + sweep_uploads(context)
    except StorageError as error:
        logger.warning("not swept: storage away", extra={"reason": str(error)})
        return 0


def expire(context: MaintenanceContext) -> None:
    """Remove clips and outputs that are older than the settings keep them.

    Raises: StorageError: when an object could not be removed.
    """
    settings, storage = context.settings, context.storage
    retention = context.database.retention
    if settings.keep_inputs_days:
        for job in retention.expire_inputs(timedelta(days=settings.keep_inputs_days)):
            storage.delete(input_folder(job.job_id))
    if settings.keep_outputs_days:
        for job in retention.expire_outputs(timedelta(days=settings.keep_outputs_days)):
            for attempt in range(1, job.attempts + 1):
                storage.delete(attempt_folder(job.job_id, attempt))


def sweep(context: MaintenanceContext) -> int:
    """Check one page of the storage when that is due; return the number of removed objects."""
    keep = timedelta(days=context.settings.keep_leftovers_days)
    if not keep:
        return 0
    tasks, storage = context.database.periodic_tasks, context.storage
    task = tasks.acquire(SWEEP)
    if task is None:
        return 0
    page = storage.page(JOBS_FOLDER, after=task.place, limit=PAGE)
    orphans = context.database.retention.orphans(page, keep, unknown_jobs=_owns_storage(context))
    storage.remove(orphans)
    if orphans:
        logger.info("leftovers removed", extra={"objects": len(orphans)})
    if len(page) == PAGE:
        tasks.release(task, page[-1].key, timedelta())
    else:
        tasks.release(task, None, EVERY)
    return len(orphans)


def sweep_uploads(context: MaintenanceContext) -> int:
    """Check one page of uploads when that is due; return the number of removed objects."""
    keep = timedelta(days=context.settings.keep_leftovers_days)
    if not keep:
        return 0
    tasks, storage, uploads = (
        context.database.periodic_tasks,
        context.storage,
        context.database.uploads,
    )
    task = tasks.acquire(SWEEP_UPLOADS)
    if task is None:
        return 0
    page = storage.page(UPLOADS_FOLDER, after=task.place, limit=PAGE)
    orphans: list[str] = []
    if _owns_storage(context):
        orphans = uploads.orphans(page, keep)
        storage.remove(orphans)
        lost = uploads.lost_sessions(storage.part_sessions(UPLOADS_FOLDER), min(keep, SESSION_AGE))
        for session in lost:
            storage.abandon_parts(session.key, session.session)
        if orphans or lost:
            facts = {"objects": len(orphans), "sessions": len(lost)}
            logger.info("leftovers of uploads removed", extra=facts)
    if len(page) == PAGE:
        tasks.release(task, page[-1].key, timedelta())
    else:
        tasks.release(task, None, EVERY)
    return len(orphans)


def _owns_storage(context: MaintenanceContext) -> bool:
    """Return whether the storage belongs to this database.

    In the storage of another database every job would be unknown.
    """
    owner = context.storage.owner()
    owns = owner is not None and is_identity(context.database.engine, owner)
    if not owns:
        logger.warning("the storage is another database's: no clip of an unknown job is removed")
    return owns
