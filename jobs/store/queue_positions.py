"""Cached queue positions: one query computes all of them.

A position depends on all jobs before it, and every polling client needs one. For a short queue the
query costs less than the rest of the response, and its result is not kept. For a long queue it is
kept so long that queries cost a small part of a CPU core, however many clients poll.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

SHORT = 10  # queued jobs; positions of a shorter queue are not kept
KEPT_TIMES_COST = 20  # so that queries use at most a twentieth of a core
LONGEST_SECONDS = 2.0  # for which positions are kept, also when a query had to wait


@dataclass(frozen=True)
class _Snapshot:
    positions: Mapping[str, int] = field(default_factory=dict)
    fresh_until: float = 0.0
    usable_until: float = 0.0  # while another thread queries again


class PositionCache:
    """Positions of queued jobs, at most a moment old."""

    def __init__(
        self,
        query: Callable[[], Mapping[str, int]],
        *,
        clock: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.monotonic,
    ) -> None:
        """query: positions of all queued jobs. cost: seconds that a query takes."""
        self._query = query
        self._clock = clock
        self._cost = cost
        self._snapshot = _Snapshot()
        self._querying = threading.Lock()

    def of(self, job_ids: Collection[str]) -> dict[str, int]:
        """Return the positions of the queued jobs among these; an unknown job causes a query."""
        if not self._contains(job_ids, until=self._snapshot.fresh_until):
            wait = not self._contains(job_ids, until=self._snapshot.usable_until)
            if self._querying.acquire(blocking=wait):
                try:  # another thread may have finished a query
                    if not self._contains(job_ids, until=self._snapshot.fresh_until):
                        self._refresh()
                finally:
                    self._querying.release()
        positions = self._snapshot.positions
        return {job_id: positions[job_id] for job_id in job_ids if job_id in positions}

    def _contains(self, job_ids: Collection[str], *, until: float) -> bool:
        positions = self._snapshot.positions
        return self._clock() < until and all(job_id in positions for job_id in job_ids)

    def _refresh(self) -> None:
        before = self._cost()
        positions = self._query()
        cost = self._cost() - before
        kept = min(KEPT_TIMES_COST * cost, LONGEST_SECONDS) if len(positions) >= SHORT else 0.0
        now = self._clock()
        self._snapshot = _Snapshot(positions, now + kept, now + 2 * kept)
