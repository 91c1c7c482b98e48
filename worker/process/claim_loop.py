"""Claim loop: claim jobs and run them until the queue is empty."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from worker.process.outcomes import AttemptOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jobs.model import Job
    from jobs.store.attempts import AttemptStore
    from worker.process.progress import StopRequest

logger = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds between claims during an outage

# Outcomes after which the next job may fail in the same way.
ENVIRONMENT_FAILURES = (AttemptOutcome.OUTAGE, AttemptOutcome.RESOURCE_FAILURE)


class ClaimLoop:
    """Claims and runs jobs one after the other; waits during an outage.

    people: claim only jobs of these persons; empty: of all.
    obstacle: returns the reason why a job would fail on this worker now, or None. After an outage
    or a resource failure, no job is claimed until it returns None: a worker with a full disk must
    not fail one job after the other.
    """

    def __init__(
        self,
        store: AttemptStore,
        attempt: Callable[[Job], AttemptOutcome],
        *,
        worker: str,
        stop: StopRequest,
        people: Collection[str] = (),
        obstacle: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._store = store
        self._attempt = attempt
        self._worker = worker
        self._stop = stop
        self._people = people
        self._obstacle = obstacle
        self._check_health = False
        self._pause = SHORTEST_PAUSE

    def run(self) -> list[AttemptOutcome]:
        """Work until no job is queued or the worker is asked to stop."""
        outcomes: list[AttemptOutcome] = []
        while not self._stop.requested:
            if self._unhealthy():
                self._wait()
                continue
            try:
                job = self._store.claim(self._worker, self._people)
            except SQLAlchemyError as error:
                logger.warning("no claim: database away", extra={"reason": str(error)})
                self._wait()
                continue
            if job is None:
                break
            outcomes.append(self._attempt(job))
            self._check_health = outcomes[-1] in ENVIRONMENT_FAILURES
            if self._check_health:
                self._wait()
            else:
                self._pause = SHORTEST_PAUSE
        return outcomes

    def _unhealthy(self) -> bool:
        if self._check_health and (reason := self._obstacle()) is not None:
            logger.warning("no claim: no job could be done here", extra={"reason": reason})
            return True
        self._check_health = False
        return False

    def _wait(self) -> None:
        self._stop.pause(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
