"""One round of upkeep: expired leases, lost wake-ups, expired jobs and deleted objects."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.maintenance.sweep import tidy
from jobs.queue.celery_app import wake
from jobs.storage.factory import StorageError
from jobs.storage.keys import job_folder
from jobs.store.uploads import upload_folder

if TYPE_CHECKING:
    from jobs.maintenance.context import MaintenanceContext
    from jobs.store.deletions import Deletion
    from jobs.store.uploads import Upload

logger = logging.getLogger(__name__)


def reap_once(services: MaintenanceContext) -> list[str]:
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


def _expired_jobs(services: MaintenanceContext) -> list[Deletion]:
    days = services.settings.keep_jobs_days
    return services.store.expire_jobs(timedelta(days=days)) if days else []


def remove_objects(services: MaintenanceContext, removal: Deletion) -> None:
    """Remove what is stored of a deleted job; where that fails, a later round does it."""
    try:
        services.storage.delete(job_folder(removal.job_id))
    except StorageError as error:
        facts = {"job": removal.job_id, "reason": str(error)}
        logger.warning("objects of a deleted job not removed yet", extra=facts)
    else:
        services.store.removed(removal)


def remove_upload(services: MaintenanceContext, upload: Upload) -> None:
    """Remove a clip that has expired, or as much of it as has come."""
    try:
        services.storage.abandon_parts(upload.key, upload.session)
        services.storage.delete(upload_folder(upload.id))
    except StorageError as error:
        facts = {"upload": upload.id, "reason": str(error)}
        logger.warning("expired upload not removed yet", extra=facts)
    else:
        services.uploads.forget(upload)
