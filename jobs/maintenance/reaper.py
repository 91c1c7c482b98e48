"""One maintenance round: expired leases, lost wake-ups, expired jobs and deleted objects."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.maintenance.storage_root import prepare_storage
from jobs.maintenance.sweep import tidy
from jobs.queue.celery_app import wake
from jobs.storage.factory import StorageError
from jobs.storage.keys import job_folder
from jobs.store.uploads import upload_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.database import Database
    from jobs.maintenance.context import MaintenanceContext
    from jobs.storage.factory import Storage
    from jobs.store.deletions import Deletion
    from jobs.store.uploads import Upload

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaintenanceReport:
    """Results of one round."""

    announced: int  # queued jobs, to the workers
    jobs_removed: int  # deleted or expired jobs whose objects were removed
    orphans_removed: int  # objects
    uploads_removed: int


def maintain(context: MaintenanceContext) -> MaintenanceReport:
    """Run one round; any number of processes can do so at any time."""
    database, storage = context.database, context.storage
    announced = _announce(context)
    prepare_storage(database.engine, storage)
    deleted = [*database.deletions.take_due(), *_expired_jobs(context)]
    removed = [remove_objects(database, storage, deletion) for deletion in deleted]
    uploads = [
        remove_upload(database, storage, upload) for upload in database.uploads.take_expired()
    ]
    orphans = tidy(context)
    database.idempotency_keys.delete_expired()
    return MaintenanceReport(announced, sum(removed), orphans, sum(uploads))


def maintain_once(
    context: MaintenanceContext, pause: Callable[[float], None] = time.sleep
) -> MaintenanceReport:
    """Run the only round of this process: wait for a lease first if a lease has expired."""
    report = maintain(context)
    if not context.database.attempts.any_expired():
        return report
    pause(context.grace.remaining_seconds)
    second = maintain(context)
    return MaintenanceReport(
        report.announced + second.announced,
        report.jobs_removed + second.jobs_removed,
        report.orphans_removed + second.orphans_removed,
        report.uploads_removed + second.uploads_removed,
    )


def remove_objects(database: Database, storage: Storage, deletion: Deletion) -> bool:
    """Remove the objects of a deleted job; False when a later round has to do it."""
    try:
        storage.delete(job_folder(deletion.job_id))
    except StorageError as error:
        facts = {"job": deletion.job_id, "reason": str(error)}
        logger.warning("objects of a deleted job not removed yet", extra=facts)
        return False
    database.deletions.finish_round(deletion)
    return True


def remove_upload(database: Database, storage: Storage, upload: Upload) -> bool:
    """Remove an upload and its parts; False when a later round has to do it."""
    try:
        storage.abandon_parts(upload.key, upload.session)
        storage.delete(upload_folder(upload.id))
    except StorageError as error:
        facts = {"upload": upload.id, "reason": str(error)}
        logger.warning("expired upload not removed yet", extra=facts)
        return False
    database.uploads.forget(upload)
    return True


def _announce(context: MaintenanceContext) -> int:
    """Requeue lost jobs and wake workers for the jobs that wait; return the number announced."""
    with context.grace.round():
        waiting = context.database.attempts.reap(context.grace.is_over)
    for count, job_id in enumerate(waiting):
        if not wake(context.queue, job_id):
            return count  # the broker is down: a later round tries again
    return len(waiting)


def _expired_jobs(context: MaintenanceContext) -> list[Deletion]:
    days = context.settings.keep_jobs_days
    return context.database.retention.expire_jobs(timedelta(days=days)) if days else []
