"""Grace period after an outage: expired leases are left alone until their workers could renew them.

While the database does not answer, no worker can renew its lease and nobody can claim its job. When
the database is back, a reaper that is faster than the workers would take jobs from all of them.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

SHORTEST_STALL = 1.0  # seconds


class GracePeriod:
    """Time since the last outage that this process saw, compared with the length of a lease.

    An outage is a failed round, a round that waited long for the database, or a wall clock that
    was changed. A new process has seen nothing yet, so its first period begins with its first
    round.
    """

    def __init__(self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._stall = max(SHORTEST_STALL, seconds / 5)
        self._monotonic = monotonic
        self._steady_since: float | None = None
        self._round_began = 0.0
        self._clock_offset = 0.0  # wall clock minus monotonic clock

    @contextmanager
    def round(self) -> Iterator[None]:
        """Observe a maintenance round; an error of the block is an outage."""
        self._round_began = self._monotonic()
        try:
            yield
        except BaseException:
            self._steady_since = None
            raise

    def is_over(self, now: datetime) -> bool:
        """Return whether leases that have expired by `now` belong to dead workers.

        Called inside the transaction of the round, after the wait for the database.
        """
        present = self._monotonic()
        offset = now.timestamp() - present
        waited = present - self._round_began > self._stall
        changed = abs(offset - self._clock_offset) > self._stall
        self._clock_offset = offset
        if self._steady_since is None or waited or changed:
            self._steady_since = present
        return present - self._steady_since >= self._seconds

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the period is over, if no outage follows."""
        if self._steady_since is None:
            return self._seconds
        return max(0.0, self._seconds - (self._monotonic() - self._steady_since))
