"""Classification of failures: whose fault one is, and what becomes of the job and the worker.

CALLER  damaged audio, an unknown view: the job fails with a code and a sentence.
WORKER  no ffmpeg, scratch removed, disk full, incomplete person: the job is for another worker and
        the attempt does not count; this one claims nothing until its health check succeeds.
SHARED  no storage, database or people: the job waits, the attempt does not count; the worker waits.
BUG     any other error, a stage timeout, GPU memory: the attempt counts; the worker checks its
        health, and ends after several broken jobs in a row.

A job that was put back pauses, longer each time. A refusal is final and a bug counts, so both are
believed only if the health check of the worker succeeds; otherwise the class is WORKER or SHARED.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch

from contracts.person import PersonError
from jobs.storage.disk_full import is_full
from jobs.storage.factory import ObjectMissing, StorageFull
from jobs.store.attempts import EXHAUSTED
from worker.pipeline.media.ffmpeg import ChildError
from worker.pipeline.persons import NoPeople, PersonDamaged, PersonUnknown
from worker.pipeline.user_errors import user_error_of
from worker.process.faults.health import is_shared
from worker.process.outcomes import OUTAGE_REASON, AttemptOutcome, StageStuck
from worker.process.retry import is_outage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.process.faults.health import Obstacle


class FailureClass(StrEnum):
    """Classes of failures."""

    CALLER = "caller"
    WORKER = "worker"
    SHARED = "shared"
    BUG = "bug"


@dataclass(frozen=True)
class Policy:
    """Policy for the job. pause_seconds: after its first setback; later ones double it."""

    counts: bool
    pause_seconds: float


POLICIES: Mapping[FailureClass, Policy] = {
    FailureClass.WORKER: Policy(counts=False, pause_seconds=0.1),
    FailureClass.SHARED: Policy(counts=False, pause_seconds=0.1),
    FailureClass.BUG: Policy(counts=True, pause_seconds=1.0),
}
CAUSES = {
    AttemptOutcome.OUTAGE: "outage",
    AttemptOutcome.UNFIT: "unfit",
    AttemptOutcome.PERSON_MISSING: "person_missing",
}
FULL_MOST = 6  # setbacks: a job may be too large for every disk
UNKNOWN_MOST = 6  # a person may have been removed


@dataclass(frozen=True)
class Failure:
    """A classified failure.

    reason: one sentence for a refusal, else part of a sentence in the job's error detail.
    most: setbacks after which the job fails although they do not count.
    """

    kind: FailureClass
    outcome: AttemptOutcome
    code: str
    reason: str
    most: int | None = None

    @property
    def cause(self) -> str:
        """Short reason for metrics."""
        return CAUSES.get(self.outcome, "internal_error")


def classify(error: Exception, obstacle: Callable[[], Obstacle | None]) -> Failure:
    """Return the class of an error of an attempt. obstacle: the health check of the worker."""
    failure = _temporary(error)
    if failure is not None:
        return failure
    if (found := obstacle()) is not None:
        return failure_of(found)
    return _refusal(error) or _counted(error)


def failure_of(obstacle: Obstacle) -> Failure:
    """Return the failure of a job that met an obstacle."""
    if is_shared(obstacle):
        return _shared(f"unavailable: {obstacle.part}")
    return _worker(f"the {obstacle.part} of a worker failed")


def _temporary(error: Exception) -> Failure | None:
    """Classify errors that no caller and no bug can cause."""
    if isinstance(error, StorageFull):
        reason = "no space left in the storage for the files of the job"
        return _worker(reason, code="storage_full", most=FULL_MOST)
    if is_full(error):
        reason = "no space left on the worker's disk for the files of the job"
        return _worker(reason, code="disk_full", most=FULL_MOST)
    if isinstance(error, NoPeople):
        return _shared("no person is available")
    if isinstance(error, PersonDamaged | PersonError):
        return _worker("the files of the person are incomplete", AttemptOutcome.PERSON_MISSING)
    if is_outage(error) and not isinstance(error, ObjectMissing):
        return _shared(OUTAGE_REASON)
    if _not_started(error):
        return _worker("a program of a worker cannot be started")
    if isinstance(error, OSError):
        return _worker("a file of a worker cannot be read or written")
    return None


def _not_started(error: BaseException) -> bool:
    """Return whether a program of this machine could not be executed."""
    if isinstance(error, ChildError):
        return error.not_started
    return error.__cause__ is not None and _not_started(error.__cause__)


def _refusal(error: Exception) -> Failure | None:
    """Classify errors of the caller, on a healthy worker."""
    if (user_error := user_error_of(error)) is None:
        return None
    if isinstance(error, PersonUnknown):
        reason = user_error.message.rstrip(".")
        return _worker(reason, AttemptOutcome.PERSON_MISSING, user_error.code, UNKNOWN_MOST)
    return Failure(
        FailureClass.CALLER, AttemptOutcome.USER_ERROR, user_error.code, user_error.message
    )


def _counted(error: Exception) -> Failure:
    """Classify errors that cost an attempt."""
    kind, outcome = FailureClass.BUG, AttemptOutcome.RESOURCE_FAILURE
    if isinstance(error, torch.OutOfMemoryError):
        return Failure(
            kind,
            outcome,
            "out_of_memory",
            "one frame or one take does not fit into the memory of the worker's GPU; use a smaller "
            "size, fewer views or a shorter clip",
        )
    return Failure(kind, AttemptOutcome.INTERNAL_ERROR, EXHAUSTED, "internal error")


def stage_timeout(error: StageStuck) -> Failure:
    """Return the failure of a stage that exceeded its time limit."""
    kind, outcome = FailureClass.BUG, AttemptOutcome.RESOURCE_FAILURE
    return Failure(kind, outcome, "stage_timeout", str(error))


def _worker(
    reason: str,
    outcome: AttemptOutcome = AttemptOutcome.UNFIT,
    code: str = EXHAUSTED,
    most: int | None = None,
) -> Failure:
    return Failure(FailureClass.WORKER, outcome, code, reason, most)


def _shared(reason: str) -> Failure:
    return Failure(FailureClass.SHARED, AttemptOutcome.OUTAGE, EXHAUSTED, reason)
