"""Outcomes of an attempt, and the exceptions that stop it."""

from __future__ import annotations

from enum import StrEnum

OUTAGE_REASON = "the storage or database did not respond"


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
    OUTAGE = "away"  # the storage or database does not respond, or there are no people
    UNFIT = "unfit"  # this worker cannot do it; another one may
    PERSON_MISSING = "person missing"  # this worker does not have the whole person
    RESOURCE_FAILURE = "set back"  # it counts as an attempt, and the job is retried
    INTERNAL_ERROR = "broken"  # it counts as an attempt, and the job is retried
