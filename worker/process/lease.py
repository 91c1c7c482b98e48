"""A thread that renews the lease while the work goes on, and says when it could not."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Self

from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

logger = logging.getLogger(__name__)

RENEWALS = 3  # in the time of one lease
TRIES = 4  # between two renewals, while the database does not answer


class Lease:
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
        self.lost = threading.Event()
        self._renew = renew
        self._seconds = seconds
        self._now = now
        self._over = threading.Event()
        self._ends = now() + seconds
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        usual = self._seconds / RENEWALS
        wait = usual
        while not self._over.wait(wait):
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
