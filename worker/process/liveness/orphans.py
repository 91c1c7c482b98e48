"""Orphaned jobs: those of dead workers, found by an open scratch lock or a lost session lock."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from jobs.telemetry.job_events import DIED
from worker.process.liveness.background_thread import BackgroundThread
from worker.process.scratch import sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobs.queue.session_locks import SessionLock
    from jobs.store.attempts import AttemptStore

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0


class OrphanWatch(BackgroundThread):
    """Thread that looks for dead workers, so that their jobs do not wait for their leases.

    The kernel releases the scratch lock of a process on this machine that dies, and closes its
    connection to the database, which releases the session lock for workers on other machines.

    on_orphan: called with the job id and attempt of each dead worker; False: call it again.
    """

    def __init__(
        self, scratch: Path, locks: SessionLock, on_orphan: Callable[[str, int], bool]
    ) -> None:
        super().__init__("orphan-watch")
        self._scratch = scratch
        self._locks = locks
        self._on_orphan = on_orphan

    def _run(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            sweep(self._scratch, self._on_orphan)
            try:
                for job_id, attempt in self._locks.look():
                    self._on_orphan(job_id, attempt)
            except SQLAlchemyError as error:
                logger.debug("no look for dead workers", extra={"reason": str(error)})


def release_orphan(store: AttemptStore, job_id: str, attempt: int) -> bool:
    """Release the job of a dead worker before its lease expires.

    Returns False when the database does not answer.
    """
    try:
        reason = f"the worker of attempt {attempt} died"
        if store.release(job_id, attempt, reason, cause=DIED):
            logger.warning("job of a dead worker put back", extra={"job": job_id})
    except SQLAlchemyError as error:
        logger.warning("job of a dead worker not put back", extra={"reason": str(error)})
        return False
    return True
