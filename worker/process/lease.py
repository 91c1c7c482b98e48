"""Lease of an attempt, renewed by a background thread while the work goes on."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from worker.process.background_thread import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

RENEWALS = 3  # per lease duration
TRIES = 4  # per renewal interval, while the database does not respond


class Lease(BackgroundThread):
    """`with Lease(renew, seconds=15) as lease:`; `lease.lost` is set when the lease is lost.

    renew: extends the lease by `seconds`; returns False when another attempt has the job.
    """

    def __init__(
        self,
        renew: Callable[[], bool],
        *,
        seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("lease")
        self.lost = threading.Event()
        self._renew = renew
        self._seconds = seconds
        self._now = now
        self._ends = now() + seconds

    def _run(self) -> None:
        interval = self._seconds / RENEWALS
        wait = interval
        while not self._ended.wait(wait):
            wait = interval if self._renewed() else interval / TRIES
            if self._now() >= self._ends:
                self.lost.set()
            if self.lost.is_set():
                return

    def _renewed(self) -> bool:
        """Renew once. The new end counts from before the call, so it is never too late."""
        began = self._now()
        try:
            held = self._renew()
        except SQLAlchemyError as error:
            logger.warning("lease not renewed", extra={"reason": str(error)})
            return False
        if held:
            self._ends = began + self._seconds
        else:
            self.lost.set()
        return held
