"""What a worker does when it is woken: claim and work until the queue is empty."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from worker.attempt import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.job import Job
    from jobs.store import Store
    from worker.progress import Leave

logger = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # between claims, while something is away


class Shift:
    """Claims jobs one after the other; waits, and goes on, while something is away."""

    def __init__(
        self,
        store: Store,
        attempt: Callable[[Job], Ending],
        *,
        worker: str,
        leave: Leave,
    ) -> None:
        self._store = store
        self._attempt = attempt
        self._worker = worker
        self._leave = leave
        self._pause = SHORTEST_PAUSE

    def drain(self) -> list[Ending]:
        """Work until no job is queued, or the worker is asked to leave."""
        endings: list[Ending] = []
        while not self._leave.asked:
            try:
                job = self._store.claim(self._worker)
            except SQLAlchemyError as error:
                logger.warning("no claim: database away", extra={"reason": str(error)})
                self._wait()
                continue
            if job is None:
                break
            endings.append(self._attempt(job))
            if endings[-1] is Ending.AWAY:
                self._wait()
            else:
                self._pause = SHORTEST_PAUSE
        return endings

    def _wait(self) -> None:
        self._leave.pause(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
