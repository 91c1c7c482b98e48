"""Progress of an attempt, and the checks that stop it.

Stopped              the attempt has to end
  LeaseLost          the job was canceled or deleted, or another worker may have it
  ShutdownRequested  the worker is shutting down
  StageStuck         a stage showed no progress for too long; this counts as an attempt
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import SQLAlchemyError

from contracts.stages import JobProgress
from worker.process.outcomes import LeaseLost, ShutdownRequested
from worker.time_left.estimator import TimeLeft

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event


logger = logging.getLogger(__name__)

WRITE_SECONDS = 0.3  # between two writes of the same stage to the database
NAP_SECONDS = 0.1


class StopRequest:
    """Request to shut down the worker: a plain flag, because signal handlers set it.

    A `threading.Event` would not work: the interrupted thread may hold its lock.
    drain_seconds: time in which the current job may end after the first request.
    """

    def __init__(
        self, drain_seconds: float = 0.0, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.requested = False
        self._drain_seconds = drain_seconds
        self._now = now
        self._drain_ends = math.inf

    def request(self) -> None:
        """Claim no other job; the second request ends the drain at once."""
        self._drain_ends = self._now() + (0.0 if self.requested else self._drain_seconds)
        self.requested = True

    @property
    def drained(self) -> bool:
        """True when the current job has to be handed back at its next step."""
        return self.requested and self._now() >= self._drain_ends

    def pause(self, seconds: float, *, in_attempt: bool = False) -> None:
        """Sleep, at most until a stop is requested; in an attempt, until the end of its drain."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.drained if in_attempt else self.requested:
                return
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
        write: Callable[[str, float, float | None, float], bool],
        *,
        lost: Event,
        stop: StopRequest,
        watchdog: AttemptMonitor = NO_MONITOR,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """write: writes stage, fraction, seconds left and the progress of the whole job to its
        row; returns False when another attempt has the job.
        """
        self.time_left = TimeLeft(now)
        self._write = write
        self._lost = lost
        self._stop = stop
        self._watchdog = watchdog
        self._now = now
        self._progress = JobProgress()
        self._stage = ""
        self._written_at = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        """Report the progress of `stage`; stages may overlap.

        Raises: Stopped: when the attempt has to end.
        """
        self.check()
        self._watchdog.sign(stage)
        seconds_left = self.time_left(stage, fraction)
        stage, fraction, overall = self._progress.report(stage, fraction)
        if stage == self._stage and self._now() - self._written_at < WRITE_SECONDS:
            return
        self._stage, self._written_at = stage, self._now()
        try:
            held = self._write(stage, fraction, seconds_left, overall)
        except SQLAlchemyError as error:  # only the lease ends an attempt
            logger.warning("progress not written", extra={"reason": str(error)})
            return
        if not held:
            raise LeaseLost(
                f"the job was canceled, deleted or claimed by another worker during {stage}"
            )

    def pause(self, seconds: float) -> None:
        """Sleep. Raises: Stopped: when the attempt has to end."""
        self._stop.pause(seconds, in_attempt=True)
        self.check()

    def check(self) -> None:
        """Check that the attempt may go on. Raises: Stopped: when it has to end."""
        if self._lost.is_set():
            raise LeaseLost("the job was canceled, deleted or claimed by another worker")
        if self._stop.drained:
            raise ShutdownRequested("the worker is shutting down")
        self._watchdog.check()
