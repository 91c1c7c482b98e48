"""How an attempt tells its progress, and how it learns that it has to stop.

Stopped       the attempt ends without a word in the job's row
  LeaseLost   the job was canceled or deleted, or another worker has it, or may have it
  Leaving     this worker was asked to leave
  StageStuck  a stage gave no sign of progress for too long: this one costs an attempt
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

EVERY_SECONDS = 0.3  # writes to the database within a stage
NAP_SECONDS = 0.1


class StopRequest:
    """The word that this worker should leave: a plain flag, because signal handlers set it.

    No `threading.Event`: its lock may be held by the very thread that the signal interrupts.
    """

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        """Let the current job go at its next step, and claim no other."""
        self.asked = True

    def pause(self, seconds: float) -> None:
        """Sleep, but not longer than until the worker is asked to leave."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, NAP_SECONDS))


class AttemptMonitor(Protocol):
    """Who wants to know that the attempt lives, and may end it: worker/process/watchdog.py."""

    def sign(self, stage: str) -> None:
        """The attempt lives, and is at `stage`."""

    def check(self) -> None:
        """Raises Stopped when the attempt has to end."""


class NoMonitor:
    """Nobody: the work takes as long as it takes."""

    def sign(self, stage: str) -> None:
        """Nobody wants to know."""

    def check(self) -> None:
        """There is no limit."""


NO_MONITOR = NoMonitor()


class Reporter:
    """The `Progress` of one attempt: writes a few times a second, stops when there is a reason."""

    def __init__(
        self,
        write: Callable[[str, float], bool],
        *,
        lost: Event,
        leave: StopRequest,
        watchdog: AttemptMonitor = NO_MONITOR,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """write: into the job's row; False means that the row is no longer ours."""
        self._write = write
        self._lost = lost
        self._leave = leave
        self._watchdog = watchdog
        self._now = now
        self._stage = ""
        self._written_at = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        """Tell how far `stage` is. Raises Stopped when the attempt has to end."""
        self.check()
        self._watchdog.sign(stage)
        if stage == self._stage and self._now() - self._written_at < EVERY_SECONDS:
            return
        self._stage, self._written_at = stage, self._now()
        try:
            held = self._write(stage, fraction)
        except SQLAlchemyError as error:  # progress is for the eye; the lease decides
            logger.warning("progress not written", extra={"reason": str(error)})
            return
        if not held:
            raise LeaseLost(f"the job was canceled, deleted or taken away during {stage}")

    def pause(self, seconds: float) -> None:
        """Sleep. Raises Stopped when the attempt has to end."""
        self._leave.pause(seconds)
        self.check()

    def check(self) -> None:
        """Raises Stopped when the attempt has to end."""
        if self._lost.is_set():
            raise LeaseLost("the lease was not renewed in time")
        if self._leave.asked:
            raise ShutdownRequested("the worker was asked to leave")
        self._watchdog.check()
