"""Places in the queue: everybody's are looked up at once, and told for a short while.

Where each stands depends on all that stand before it, and everybody who polls asks. A look at a
short queue costs less than the rest of an answer and is never kept. One at a long queue is kept for
as long as makes looking cost a small part of a core, however many ask.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

SHORT = 100  # queued jobs: a look at so few is not worth keeping
KEPT_TIMES_COST = 20  # so that looking costs a twentieth of a core at the most


@dataclass(frozen=True)
class _Seen:
    places: Mapping[str, int] = field(default_factory=dict)
    until: float = 0.0
    good_enough_until: float = 0.0  # while somebody looks again


class PositionCache:
    """Who stands where, as of a moment ago."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, int]],
        *,
        clock: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.thread_time,
    ) -> None:
        """look: the places of all that are queued. cost: CPU seconds of this thread."""
        self._look = look
        self._clock = clock
        self._cost = cost
        self._seen = _Seen()
        self._looking = threading.Lock()

    def of(self, job_ids: Collection[str]) -> dict[str, int]:
        """The places of those of these jobs that are queued. One that is new is looked up."""
        if not self._tells(job_ids, until=self._seen.until):
            waits = not self._tells(job_ids, until=self._seen.good_enough_until)
            if self._looking.acquire(blocking=waits):
                try:
                    if not self._tells(job_ids, until=self._seen.until):  # nobody looked meanwhile
                        self._look_now()
                finally:
                    self._looking.release()
        places = self._seen.places
        return {job_id: places[job_id] for job_id in job_ids if job_id in places}

    def _tells(self, job_ids: Collection[str], *, until: float) -> bool:
        places = self._seen.places
        return self._clock() < until and all(job_id in places for job_id in job_ids)

    def _look_now(self) -> None:
        before = self._cost()
        places = self._look()
        cost = self._cost() - before
        kept = 0.0 if len(places) < SHORT else KEPT_TIMES_COST * cost
        now = self._clock()
        self._seen = _Seen(places, now + kept, now + 2 * kept)
