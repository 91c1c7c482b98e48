"""A thread that renews the lease while the work goes on, and says when it could not."""

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

RENEWALS = 3  # in the time of one lease
TRIES = 4  # between two renewals, while the database does not answer


class Lease(BackgroundThread):
    """`with Lease(renew, seconds=15) as lease:`; `lease.lost` is set when the job is gone.

    renew: holds the job for another `seconds`, False when another attempt has it.
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
        usual = self._seconds / RENEWALS
        wait = usual
        while not self._ended.wait(wait):
            wait = usual if self._renewed() else usual / TRIES
            if self._now() >= self._ends:
                self.lost.set()
            if self.lost.is_set():
                return

    def _renewed(self) -> bool:
        """Renew once; the new end counts from before the call, so it is never believed too late."""
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
