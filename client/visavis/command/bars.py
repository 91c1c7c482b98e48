"""Progress of jobs, transfers and batches: bars on a terminal, lines in a log, on stderr."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from visavis import BatchProgress
    from visavis.command.console import Output
    from visavis.models import JobFields

LINE_SECONDS = 5.0  # between two lines about the same step in a log
SILENT_SECONDS = 8.0  # longest time without a line in a log
LOOK_SECONDS = 1.0  # between two looks whether a line is due
SURE_SECONDS = 3.0  # before this time, a rate is not known
FRAME_RATE = 30  # frames per second of a video
LAST_STAGE = "render"  # with work; the time after it is short


@dataclass(frozen=True)
class Step:
    """State of a bar. fraction: 0..1. rate, left: in words, empty when they are not known."""

    label: str
    fraction: float
    rate: str = ""
    left: str = ""

    def __str__(self) -> str:
        parts = (f"{self.label:<16} {100 * self.fraction:3.0f} %", self.rate, self.left)
        return "  ".join(part for part in parts if part)


class JobClock:
    """Rate and time left of a job, from the changes that were seen.

    The stages take other shares of the time than of the progress. So the time left is that of the
    service, where it tells one, or else of the stage alone.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._since = 0.0
        self._first = 0.0

    def step(self, job: JobFields, raw: dict[str, object], now: float) -> Step:
        """Return the step of a job at a time in seconds."""
        if job.state == "queued":
            place = f", place {job.position}" if job.position else ""
            return Step(f"queued{place}", job.progress)
        if job.ended:
            return Step(job.state, job.progress)
        part = next((each.progress for each in job.stages if each.name == job.stage), 0.0)
        if job.stage != self._stage:
            self._stage, self._since, self._first = job.stage, now, part
        done, seconds = part - self._first, now - self._since
        known = done > 0 and seconds >= SURE_SECONDS
        frames = job.clip_seconds * FRAME_RATE * int(job.request.get("takes") or 1)
        rate = f"{frames * done / seconds:.1f} frames/s" if known else ""
        left = raw.get("seconds_left")
        if isinstance(left, (int, float)):
            return Step(job.stage, job.progress, rate, f"{duration(left)} left")
        if known:
            rest = duration((1 - part) * seconds / done)
            stage = "" if job.stage == LAST_STAGE else f" in {job.stage}"
            return Step(job.stage, job.progress, rate, f"about {rest} left{stage}")
        return Step(job.stage, job.progress)


class Bar:
    """One bar: `with Bar(output) as bar: bar.show(Step("render", 0.5))`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live: Progress | None = None
        self._step = Step("connecting", 0.0)
        self._began = self._printed_at = time.monotonic()
        self._printed = ""  # label of the latest line
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if self._output.silent:
            return self
        if self._output.stderr.is_terminal:
            columns = ("{task.description:<16}", "{task.fields[rate]}", "{task.fields[left]}")
            first, *others = (TextColumn(each) for each in columns)
            bar = (BarColumn(bar_width=24), TaskProgressColumn())
            self._live = Progress(
                first,
                *bar,
                *others,
                console=self._output.stderr,
                transient=True,
                redirect_stdout=False,  # results stay on stdout
                redirect_stderr=False,
            )
            self._task = self._live.add_task("connecting", total=1.0, rate="", left="")
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._repeat, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def show(self, step: Step) -> None:
        """Show a step."""
        self._step = step
        if self._live is not None:
            self._live.update(
                self._task,
                completed=step.fraction,
                description=step.label,
                rate=step.rate,
                left=step.left,
            )
        elif not self._output.silent:
            waited = time.monotonic() - self._printed_at
            if step.label != self._printed or waited > LINE_SECONDS:
                self._line()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the bar while a result is printed, which may go to the same terminal."""
        if self._live is not None:
            self._live.stop()
        yield
        if self._live is not None:
            self._live.start()

    def _line(self) -> None:
        with self._lock:
            self._printed, self._printed_at = self._step.label, time.monotonic()
            self._output.stderr.print(f"{duration(self.seconds):>6}  {self._step}", soft_wrap=True)

    def _repeat(self) -> None:
        """Repeat the latest line while nothing changes, so that a log is never silent."""
        while not self._ended.wait(LOOK_SECONDS):
            if time.monotonic() - self._printed_at > SILENT_SECONDS:
                self._line()


class BatchClock:
    """Step of a batch: recordings that have ended, their rate, and the time left."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = 0  # ended in earlier runs

    def step(self, progress: BatchProgress) -> Step:
        """Return the step after a change."""
        ended = progress.succeeded + progress.failed
        if progress.result is not None and progress.result.resumed:
            self._before += 1
        done, seconds = ended - self._before, time.monotonic() - self._began
        failed = f", {progress.failed} failed" if progress.failed else ""
        label = f"{ended} of {progress.total}{failed}"
        fraction = ended / progress.total if progress.total else 1.0
        if done < 2 or seconds < SURE_SECONDS:
            return Step(label, fraction)
        left = (progress.total - ended) * seconds / done
        return Step(
            label, fraction, f"{60 * done / seconds:.1f}/min", f"about {duration(left)} left"
        )


def duration(seconds: float) -> str:
    """Return a time such as 1:05 or 2:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
