"""Lease of an attempt, renewed by a background thread while the work goes on.

Only the database can say that a lease is lost. While it does not answer, nobody can claim the job,
and when it is back, the reaper leaves expired leases alone for as long as a lease, so that each
worker can renew its own.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from worker.process.liveness.background_thread import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

RENEWALS = 3  # per lease duration
TRIES = 4  # per renewal interval, while the database does not respond


class Lease(BackgroundThread):
    """`with Lease(renew, seconds=15) as lease:`; `lease.lost` is set when the lease is lost.

    An outage does not lose the lease; writes of the attempt are retried for a minute meanwhile.

    renew: extends the lease by `seconds`; returns False when another attempt has the job.
    """

    def __init__(self, renew: Callable[[], bool], *, seconds: float) -> None:
        super().__init__("lease")
        self.lost = threading.Event()
        self._renew = renew
        self._seconds = seconds

    def _run(self) -> None:
        interval = self._seconds / RENEWALS
        wait = interval
        while not self._ended.wait(wait):
            try:
                held = self._renew()
            except SQLAlchemyError as error:
                logger.warning("lease not renewed", extra={"reason": str(error)})
                wait = interval / TRIES
                continue
            if not held:
                self.lost.set()
                return
            wait = interval
