"""Errors that cost an attempt under a name of their own: no caller's fault, and no bug either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from jobs.room import is_full
from jobs.storage import StorageFull

if TYPE_CHECKING:
    from worker.progress import StageStuck


@dataclass(frozen=True)
class Setback:
    """Why an attempt ended; the job ends with it where that was the last one allowed."""

    code: str
    reason: str  # follows "the last: " in the job's sentence


def setback_of(error: Exception) -> Setback | None:
    """The setback that an error means; None where it is another's or ours."""
    if isinstance(error, StorageFull):
        return Setback("storage_full", "the storage had no room left for what the job makes")
    if is_full(error):
        return Setback("disk_full", "the worker's disk had no room left for the files of the job")
    if isinstance(error, torch.OutOfMemoryError):
        return Setback(
            "out_of_memory",
            "the memory of the worker's GPU does not hold one frame or one take of it; ask for a "
            "smaller size, fewer views or a shorter clip",
        )
    return None


def stuck_at(error: StageStuck) -> Setback:
    """The setback of a stage that gave no sign of progress."""
    return Setback("stage_timeout", str(error))
