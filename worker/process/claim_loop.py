"""Claim loop: claim jobs and run them until the queue is empty."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from jobs.telemetry.metrics import WORKER_LAST_CLAIM, WORKER_OBSTRUCTED
from jobs.telemetry.prometheus import put
from worker.process.outcomes import OUTAGE_REASON, AttemptOutcome
from worker.process.together.attempts import AttemptGroup, may_join

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jobs.model import Job
    from jobs.store.attempts import AttemptStore
    from worker.process.faults.health import Obstacle
    from worker.process.progress import StopRequest

logger = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds between claims during an outage
LONGEST_DATABASE_PAUSE = 3.0  # shorter than a lease, in which the reaper leaves the job alone
PERSON_PAUSE, LONGEST_PERSON_PAUSE = 2.0, 60.0  # seconds without jobs of an incomplete person
JOIN_SECONDS = 1.0  # between two looks for a job that joins those that run
MOST_BROKEN = 5  # jobs in a row, after which a new process may do better

BROKEN_DEVICE = 70  # exit status; a supervisor should start a new process
UNFIT = 72  # exit status after several broken jobs in a row; as above

GOOD = (AttemptOutcome.PUBLISHED, AttemptOutcome.USER_ERROR)
# Outcomes after which the next job may fail in the same way.
FAILURES = (
    AttemptOutcome.OUTAGE,
    AttemptOutcome.UNFIT,
    AttemptOutcome.RESOURCE_FAILURE,
    AttemptOutcome.INTERNAL_ERROR,
)


@dataclass(frozen=True)
class _Absence:
    """A person whose jobs this worker does not claim."""

    until: float
    pause: float


class ClaimLoop:
    """Claims and runs jobs one after the other, or several at a time; waits during an outage.

    people: claim only jobs of these persons; empty: of all.
    obstacle: returns the reason why every job would fail on this worker now, or None. After a
    failure no job is claimed until it returns None: a worker that is sick must not take one job
    after the other from healthy ones.
    usable: returns whether this worker has a complete version of a person.
    together: most jobs at a time. Claims keep their order: jobs join those that run while the next
    one in the queue can be sampled with them; another one waits until all of them have ended.
    """

    def __init__(
        self,
        store: AttemptStore,
        attempt: Callable[[Job], AttemptOutcome],
        *,
        worker: str,
        stop: StopRequest,
        people: Collection[str] = (),
        obstacle: Callable[[], Obstacle | None] = lambda: None,
        usable: Callable[[str], bool] = lambda person: True,
        together: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.exit_status: int | None = None  # the process should end with it
        self._store = store
        self._attempt = attempt
        self._worker = worker
        self._stop = stop
        self._people = people
        self._obstacle = obstacle
        self._usable = usable
        self._together = together
        self._now = now
        self._check_health = False
        self._pause = SHORTEST_PAUSE
        self._broken: set[str] = set()  # jobs since the last good one
        self._absent: dict[str, _Absence] = {}
        self._unreleased: list[Job] = []  # jobs that an outage kept from their release

    def run(self) -> list[AttemptOutcome]:
        """Work until no job is queued, the worker is asked to stop, or the process should end."""
        outcomes: list[AttemptOutcome] = []
        while not self._stop.requested and self.exit_status is None:
            if self._unhealthy():
                if self.exit_status is None:
                    self._wait()
                continue
            try:
                self._release()
                job = self._store.claim(self._worker, self._people, self._without())
                put(WORKER_LAST_CLAIM, time.time())
                put(WORKER_OBSTRUCTED, 0)
            except SQLAlchemyError as error:
                put(WORKER_OBSTRUCTED, 1)
                logger.warning("no claim: database away", extra={"reason": str(error)})
                self._wait(LONGEST_DATABASE_PAUSE)
                continue
            if job is None:
                break
            for done, outcome in self._attempts(job):
                outcomes.append(outcome)
                self._learn(done, outcome)
        return outcomes

    def _attempts(self, job: Job) -> list[tuple[Job, AttemptOutcome]]:
        """Run a claimed job, and those that join it."""
        if self._together == 1:
            return [(job, self._attempt(job))]
        group = AttemptGroup(self._attempt, job)
        ended: list[tuple[Job, AttemptOutcome]] = []
        is_open = True
        while len(group):
            while is_open and len(group) < self._together and not self._stop.requested:
                joining, is_open = self._claim_joining(group.first)
                if joining is None:
                    break
                group.start(joining)
            done = group.wait(JOIN_SECONDS)
            is_open = is_open and all(outcome in GOOD for _, outcome in done)
            ended += done
        return ended

    def _claim_joining(self, first: Job) -> tuple[Job | None, bool]:
        """Claim the next job if it may join; also return whether others may do so later."""
        refused = False

        def accept(job: Job) -> bool:
            nonlocal refused
            refused = not may_join(first, job)
            return not refused

        try:
            if not self._store.any_waiting(self._people):
                return None, True
            job = self._store.claim(self._worker, self._people, self._without(), accept)
        except SQLAlchemyError as error:
            logger.warning("no job joins: database away", extra={"reason": str(error)})
            return None, False
        return job, not refused

    def _learn(self, job: Job, outcome: AttemptOutcome) -> None:
        """Decide from an outcome whether and when the next job is claimed."""
        if outcome in GOOD:
            self._pause = SHORTEST_PAUSE
            self._broken.clear()
            for person in job.request.people:
                self._absent.pop(person, None)
        if outcome is AttemptOutcome.PERSON_MISSING:
            people = set(job.request.people)
            for person in [each for each in people if not self._usable(each)] or people:
                self._set_absent(person)
        if outcome is AttemptOutcome.OUTAGE:
            self._unreleased.append(job)
        if outcome is AttemptOutcome.INTERNAL_ERROR:
            self._broken.add(job.id)
            if len(self._broken) >= MOST_BROKEN:
                logger.error("several jobs in a row broke here; this process ends")
                self.exit_status = UNFIT
                return
        if outcome in FAILURES:
            self._check_health = True
            self._wait()

    def _unhealthy(self) -> bool:
        if self._check_health and (obstacle := self._obstacle()) is not None:
            facts = {"part": obstacle.part, "reason": obstacle.reason}
            logger.warning("no claim: no job could be done here", extra=facts)
            put(WORKER_OBSTRUCTED, 1)
            if obstacle.part == "device":
                logger.error("the device computes no more; this process ends")
                self.exit_status = BROKEN_DEVICE
            return True
        self._check_health = False
        return False

    def _set_absent(self, person: str) -> None:
        before = self._absent.get(person)
        pause = PERSON_PAUSE if before is None else min(2 * before.pause, LONGEST_PERSON_PAUSE)
        self._absent[person] = _Absence(self._now() + pause, pause)
        facts = {"person": person, "seconds": pause}
        logger.warning("no claim of jobs of a person that is not complete here", extra=facts)

    def _without(self) -> list[str]:
        """Return the persons whose jobs are not claimed; look at those whose pause is over."""
        for person, absence in list(self._absent.items()):
            if self._now() >= absence.until and not self._usable(person):
                self._set_absent(person)
        return [name for name, each in self._absent.items() if each.until > self._now()]

    def _release(self) -> None:
        """Put back the jobs of an outage, uncounted; without effect if that is done."""
        while self._unreleased:
            job = self._unreleased[-1]
            self._store.release(job.id, job.attempt, OUTAGE_REASON, counts=False, cause="outage")
            self._unreleased.pop()

    def _wait(self, longest: float = LONGEST_PAUSE) -> None:
        self._pause = min(self._pause, longest)
        self._stop.pause(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
