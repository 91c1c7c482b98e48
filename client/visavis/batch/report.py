"""Results and progress of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from visavis.errors import BatchError

if TYPE_CHECKING:
    from pathlib import Path

    from visavis.models import JobFields, JobWarning


@dataclass(frozen=True)
class BatchResult:
    """Outcome of one recording.

    job_id: None when it was not accepted. files: of the job, in the folder of the batch.
    code, detail: reason of a failure. resumed: it had ended in an earlier run.
    """

    audio: Path
    partner: Path | None
    state: Literal["succeeded", "failed", "canceled"]
    job_id: str | None
    files: tuple[Path, ...] = ()
    code: str = ""
    detail: str = ""
    warnings: tuple[JobWarning, ...] = ()
    resumed: bool = False


@dataclass(frozen=True)
class BatchReport:
    """Outcome of a batch, in the order of its recordings."""

    results: tuple[BatchResult, ...]

    @property
    def succeeded(self) -> tuple[BatchResult, ...]:
        """Recordings whose files are complete."""
        return tuple(each for each in self.results if each.state == "succeeded")

    @property
    def failed(self) -> tuple[BatchResult, ...]:
        """Recordings that were refused, failed or were canceled."""
        return tuple(each for each in self.results if each.state != "succeeded")

    def raise_for_failures(self) -> BatchReport:
        """Return the report. Raises: BatchError: with the reasons, when a recording failed."""
        if self.failed:
            reasons = "; ".join(
                f"{each.audio.name}: {each.code}: {each.detail}" for each in self.failed[:5]
            )
            raise BatchError(f"{len(self.failed)} of {len(self.results)} failed: {reasons}")
        return self


@dataclass(frozen=True)
class BatchProgress:
    """State of a batch after a change.

    total, succeeded, failed: recordings. audio: the one that changed. job: its job; None before it
    was submitted. result: its outcome; None before its end.
    """

    total: int
    succeeded: int
    failed: int
    audio: Path
    job: JobFields | None
    result: BatchResult | None
