"""Progress of an attempt, and the checks that stop it.

Stopped              the attempt has to end
  LeaseLost          the job was canceled or deleted, or another worker may have it
  ShutdownRequested  the worker is shutting down
  StageStuck         a stage showed no progress for too long; this counts as an attempt
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import SQLAlchemyError

from worker.process.outcomes import LeaseLost, ShutdownRequested

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event


logger = logging.getLogger(__name__)

WRITE_SECONDS = 0.3  # between two writes of the same stage to the database
NAP_SECONDS = 0.1


class StopRequest:
    """Request to shut down the worker: a plain flag, because signal handlers set it.

    A `threading.Event` would not work: the interrupted thread may hold its lock.
    """

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Hand back the current job at its next step, and claim no other."""
        self.requested = True

    def pause(self, seconds: float) -> None:
        """Sleep, at most until a stop is requested."""
        until = time.monotonic() + seconds
        while not self.requested and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, NAP_SECONDS))


class AttemptMonitor(Protocol):
    """Interface of the watchdog."""

    def sign(self, stage: str) -> None:
        """Record that `stage` makes progress."""

    def check(self) -> None:
        """Check that the attempt may go on. Raises: Stopped: when it has to end."""


class NoMonitor:
    """Monitor without time limits."""

    def sign(self, stage: str) -> None:
        """Record nothing."""

    def check(self) -> None:
        """Raise nothing."""


NO_MONITOR = NoMonitor()


class Reporter:
    """The `Progress` of one attempt: writes to the database, and stops the attempt if necessary."""

    def __init__(
        self,
        write: Callable[[str, float], bool],
        *,
        lost: Event,
        stop: StopRequest,
        watchdog: AttemptMonitor = NO_MONITOR,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """write: writes to the job's row; returns False when another attempt has the job."""
        self._write = write
        self._lost = lost
        self._stop = stop
        self._watchdog = watchdog
        self._now = now
        self._stage = ""
        self._written_at = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        """Report the progress of `stage`. Raises: Stopped: when the attempt has to end."""
        self.check()
        self._watchdog.sign(stage)
        if stage == self._stage and self._now() - self._written_at < WRITE_SECONDS:
            return
        self._stage, self._written_at = stage, self._now()
        try:
            held = self._write(stage, fraction)
        except SQLAlchemyError as error:  # only the lease ends an attempt
            logger.warning("progress not written", extra={"reason": str(error)})
            return
        if not held:
            raise LeaseLost(
                f"the job was canceled, deleted or claimed by another worker during {stage}"
            )

    def pause(self, seconds: float) -> None:
        """Sleep. Raises: Stopped: when the attempt has to end."""
        self._stop.pause(seconds)
        self.check()

    def check(self) -> None:
        """Check that the attempt may go on. Raises: Stopped: when it has to end."""
        if self._lost.is_set():
            raise LeaseLost("the lease was not renewed in time")
        if self._stop.requested:
            raise ShutdownRequested("the worker is shutting down")
        self._watchdog.check()
