"""What a worker does when it is woken: claim and work until the queue is empty."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from worker.process.outcomes import AttemptOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.model import Job
    from jobs.store.attempts import AttemptStore
    from worker.process.progress import StopRequest

logger = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # between claims, while something is away


TROUBLED = (AttemptOutcome.AWAY, AttemptOutcome.SET_BACK)  # the next job may fare no better


class ClaimLoop:
    """Claims jobs one after the other; waits, and goes on, while something is away.

    obstacle: why a job would fail here now. After trouble nothing is claimed while there is one:
    a worker whose disk is full must not fail everybody's job in turn.
    """

    def __init__(
        self,
        store: AttemptStore,
        attempt: Callable[[Job], AttemptOutcome],
        *,
        worker: str,
        leave: StopRequest,
        obstacle: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._store = store
        self._attempt = attempt
        self._worker = worker
        self._leave = leave
        self._obstacle = obstacle
        self._troubled = False
        self._pause = SHORTEST_PAUSE

    def run(self) -> list[AttemptOutcome]:
        """Work until no job is queued, or the worker is asked to leave."""
        endings: list[AttemptOutcome] = []
        while not self._leave.asked:
            if self._hindered():
                self._wait()
                continue
            try:
                job = self._store.claim(self._worker)
            except SQLAlchemyError as error:
                logger.warning("no claim: database away", extra={"reason": str(error)})
                self._wait()
                continue
            if job is None:
                break
            endings.append(self._attempt(job))
            self._troubled = endings[-1] in TROUBLED
            if self._troubled:
                self._wait()
            else:
                self._pause = SHORTEST_PAUSE
        return endings

    def _hindered(self) -> bool:
        if self._troubled and (reason := self._obstacle()) is not None:
            logger.warning("no claim: no job could be done here", extra={"reason": reason})
            return True
        self._troubled = False
        return False

    def _wait(self) -> None:
        self._leave.pause(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
