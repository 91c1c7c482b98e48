"""Outcomes of an attempt, the exceptions that stop it, and resource failures.

A resource failure (disk, storage, GPU memory, stage timeout) counts as an attempt: the job is
retried, and the error has its own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from jobs.storage.disk_full import is_full
from jobs.storage.factory import StorageFull


class Stopped(Exception):  # not an error of the job
    """The attempt has to end now."""


class LeaseLost(Stopped):
    """The job was canceled or deleted, or another worker has it."""


class ShutdownRequested(Stopped):
    """The worker is shutting down; the job goes back into the queue."""


class StageStuck(Stopped):
    """A stage exceeded its time limit without progress; this counts as an attempt."""

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(f"no progress in stage {stage} for {seconds:.0f} s")
        self.stage = stage


class AttemptOutcome(StrEnum):
    """Outcome of an attempt."""

    PUBLISHED = "published"
    USER_ERROR = "refused"  # the job failed, with a message for its owner
    LEASE_LOST = "lost"  # this attempt may not write any more
    HANDED_BACK = "handed back"  # the worker is shutting down
    OUTAGE = "away"  # the storage or database does not respond
    RESOURCE_FAILURE = "set back"  # it counts as an attempt, and the job is retried
    INTERNAL_ERROR = "broken"  # it counts as an attempt, and the job is retried


@dataclass(frozen=True)
class ResourceFailure:
    """Reason for a failed attempt; after the last attempt the job fails with it."""

    code: str
    reason: str  # part of a sentence in the job's error detail


def resource_failure_of(error: Exception) -> ResourceFailure | None:
    """Return the resource failure behind an error, or None for other errors."""
    if isinstance(error, StorageFull):
        return ResourceFailure(
            "storage_full", "no space left in the storage for the files of the job"
        )
    if is_full(error):
        return ResourceFailure(
            "disk_full", "no space left on the worker's disk for the files of the job"
        )
    if isinstance(error, torch.OutOfMemoryError):
        return ResourceFailure(
            "out_of_memory",
            "one frame or one take does not fit into the memory of the worker's GPU; use a smaller "
            "size, fewer views or a shorter clip",
        )
    return None


def stage_timeout(error: StageStuck) -> ResourceFailure:
    """Return the resource failure of a stage that exceeded its time limit."""
    return ResourceFailure("stage_timeout", str(error))
