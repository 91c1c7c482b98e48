"""Queue in memory with the order of claims of `jobs.store.fair_share`; a test compares the two."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class QueuedJob:
    """A queued job, as far as the order of claims depends on it."""

    id: str
    created_at: float  # seconds
    tenant: str = "local"
    priority: int = 0


class FairQueue:
    """Queued jobs by tenant, and the numbers that decide between tenants."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, float, str, QueuedJob]]] = {}
        self._running: Counter[str] = Counter()
        self._last_turn: dict[str, int] = {}
        self._turn = 0
        self.size = 0

    def add(self, job: QueuedJob) -> None:
        """Queue a job."""
        entry = (-job.priority, job.created_at, job.id, job)
        heapq.heappush(self._waiting.setdefault(job.tenant, []), entry)
        self.size += 1

    def claim(self) -> QueuedJob | None:
        """Return the next job, which then runs; None if no job is queued."""
        if not self.size:
            return None
        tenant = min(self._waiting, key=self._rank)
        *_, job = heapq.heappop(self._waiting[tenant])
        if not self._waiting[tenant]:
            del self._waiting[tenant]
        self.size -= 1
        self._running[tenant] += 1
        self._turn += 1
        self._last_turn[tenant] = self._turn
        return job

    def end(self, job: QueuedJob) -> None:
        """End a running job; to run again it is added again."""
        self._running[job.tenant] -= 1

    def _rank(self, tenant: str) -> tuple[int, int, float, str]:
        _, created_at, job_id, _ = self._waiting[tenant][0]
        return self._running[tenant], self._last_turn.get(tenant, 0), created_at, job_id
