"""What the reaper removes by age: jobs and files that ended long ago, and leftovers.

Rows are marked first and objects removed after that. What a crash or a storage that is away leaves
behind, the sweep of the storage finds: it goes through all of it, page by page, a few times a day.
"""

from __future__ import annotations

import logging
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.storage.factory import ObjectMissing, StorageError
from jobs.storage.keys import JOBS_FOLDER, attempt_folder, input_folder

if TYPE_CHECKING:
    from jobs.maintenance.context import MaintenanceContext

logger = logging.getLogger(__name__)

SWEEP = "sweep"
PAGE = 1000  # objects looked at in one round of the reaper
EVERY = timedelta(hours=6)  # through the whole storage
IDENTITY_KEY = "database.txt"  # whose the storage is


def expire(services: MaintenanceContext) -> None:
    """Remove what is older than the settings keep it; StorageError where it could not be."""
    settings, store, storage = services.settings, services.store, services.storage
    if settings.keep_inputs_days:
        for job in store.expire_inputs(timedelta(days=settings.keep_inputs_days)):
            storage.delete(input_folder(job.job_id))
    if settings.keep_outputs_days:
        for job in store.expire_outputs(timedelta(days=settings.keep_outputs_days)):
            for attempt in range(1, job.attempts + 1):
                storage.delete(attempt_folder(job.job_id, attempt))


def sweep(services: MaintenanceContext) -> int:
    """Look at one page of the storage, when that is due; answers how many objects went."""
    keep = timedelta(days=services.settings.keep_leftovers_days)
    if not keep:
        return 0
    chore = services.store.acquire_task(SWEEP)
    if chore is None:
        return 0
    page = services.storage.page(JOBS_FOLDER, after=chore.place, limit=PAGE)
    gone = services.store.leftovers(page, keep, strangers=_is_ours(services))
    services.storage.remove(gone)
    if gone:
        logger.info("leftovers removed", extra={"objects": len(gone)})
    if len(page) == PAGE:
        services.store.release_task(chore, page[-1].key, timedelta())
    else:
        services.store.release_task(chore, None, EVERY)
    return len(gone)


def _is_ours(services: MaintenanceContext) -> bool:
    """Whether the storage belongs to this database: in another's, every object is a stranger."""
    identity = services.store.identity()
    try:
        owner = b"".join(services.storage.open(IDENTITY_KEY)).decode()
    except ObjectMissing:
        with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
            path = Path(folder) / "identity"
            path.write_text(identity)
            services.storage.put(IDENTITY_KEY, path, "text/plain")
        return True
    if owner != identity:
        logger.warning("the storage is another database's: no clip of an unknown job is removed")
    return owner == identity


def tidy(services: MaintenanceContext) -> None:
    """Both, as far as the storage allows."""
    try:
        expire(services)
        sweep(services)
    except StorageError as error:
        logger.warning("not swept: storage away", extra={"reason": str(error)})
