"""Errors that cost an attempt under a name of their own: no caller's fault, and no bug either."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from jobs.storage.disk_full import is_full
from jobs.storage.factory import StorageFull


class Stopped(Exception):  # no error, the way out
    """The attempt has to end now."""


class LeaseLost(Stopped):
    """The job is no longer this attempt's."""


class ShutdownRequested(Stopped):
    """The worker was asked to leave; the job goes back into the queue."""


class StageStuck(Stopped):
    """A stage gave no sign of progress for as long as it may."""

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(f"the stage {stage} gave no sign of progress for {seconds:.0f} s")
        self.stage = stage


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    PUBLISHED = "published"
    REFUSED = "refused"  # the caller's fault: the job has failed with a sentence
    LOST = "lost"  # the lease went, and with it the right to write
    HANDED_BACK = "handed back"  # the worker was asked to leave
    AWAY = "away"  # storage or database do not answer
    SET_BACK = "set back"  # something here ran out: it counts, and is tried again
    BROKEN = "broken"  # our fault: it counts, and is tried again


@dataclass(frozen=True)
class ResourceFailure:
    """Why an attempt ended; the job ends with it where that was the last one allowed."""

    code: str
    reason: str  # follows "the last: " in the job's sentence


def resource_failure_of(error: Exception) -> ResourceFailure | None:
    """The setback that an error means; None where it is another's or ours."""
    if isinstance(error, StorageFull):
        return ResourceFailure(
            "storage_full", "the storage had no room left for what the job makes"
        )
    if is_full(error):
        return ResourceFailure(
            "disk_full", "the worker's disk had no room left for the files of the job"
        )
    if isinstance(error, torch.OutOfMemoryError):
        return ResourceFailure(
            "out_of_memory",
            "the memory of the worker's GPU does not hold one frame or one take of it; ask for a "
            "smaller size, fewer views or a shorter clip",
        )
    return None


def stuck_at(error: StageStuck) -> ResourceFailure:
    """The setback of a stage that gave no sign of progress."""
    return ResourceFailure("stage_timeout", str(error))
