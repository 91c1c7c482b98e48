"""Progress of a job as a line on a terminal, or as a line for each stage elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from visavis.models import JobFields

WIDTH = 30


class ProgressLine:
    """Callback for `Job.wait`: stage, bar and percentage on standard error."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = ""

    def __call__(self, job: JobFields) -> None:
        if self._stream.isatty():
            filled = round(WIDTH * job.progress)
            bar = "#" * filled + "." * (WIDTH - filled)
            line = f"{_label(job):<10} [{bar}] {100 * job.progress:3.0f} %{_left(job)}"
            self._write(f"\r{line.ljust(len(self._shown))}" + ("\n" if job.ended else ""), line)
        elif (line := _label(job)) != self._shown:
            self._write(f"{job.id} {line}\n", line)
        if job.ended:
            for warning in job.warnings:
                self._stream.write(f"warning: {warning.code}: {warning.detail}\n")

    def _write(self, text: str, line: str) -> None:
        self._stream.write(text)
        self._stream.flush()
        self._shown = line


def _left(job: JobFields) -> str:
    return "" if job.seconds_left is None else f"  {job.seconds_left:.0f} s left"


def _label(job: JobFields) -> str:
    if job.state == "queued" and job.position:
        return f"queued, {job.position}"
    return job.stage if job.state == "running" else job.state
