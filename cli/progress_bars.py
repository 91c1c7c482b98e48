"""Progress of each stage: bars on a terminal, occasional lines in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from contracts.stages import STAGE_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.progress import TaskID

SHOWN = tuple(name for name in STAGE_NAMES if name != "queued")
LINE_SECONDS = 5.0  # between two lines about the same stage
SILENT_SECONDS = 8.0  # longest time without a line while the job is watched


class Bars:
    """`with Bars(console) as bars: bars.show({"decode": 1.0, "speech": 0.5})`."""

    def __init__(self, console: Console) -> None:
        self._began = time.monotonic()
        self._reported: set[str] = set()
        self._display = _Live(console) if console.is_terminal else _Lines(console, self._began)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._display.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def show(self, stages: Mapping[str, float], seconds_left: float | None = None) -> None:
        """Show fractions 0..1, and the time left; other stages stay as they are."""
        self._display.left = "" if seconds_left is None else f"{_duration(seconds_left)} left"
        for name, part in stages.items():
            if name in SHOWN:
                self._display.show(name, part)
        self._display.wait()

    def report(self, stage: str, fraction: float, seconds_left: float | None = None) -> None:
        """Show the progress of one stage; earlier stages without a report were skipped."""
        if stage in SHOWN:
            self._reported.add(stage)
            before = SHOWN[: SHOWN.index(stage)]
            done = {name: 1.0 for name in before if name not in self._reported}
            self.show(done | {stage: fraction}, seconds_left)


class _Live:
    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("  {task.description:<8}"),
            BarColumn(pulse_style="bar.back"),  # no animation before the stage begins
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self.left = ""  # time left, in words

    def start(self) -> None:
        for name in SHOWN:
            self._tasks[name] = self._progress.add_task(name, start=False, total=1.0, left="")
        self._progress.start()

    def show(self, name: str, part: float) -> None:
        task = self._tasks[name]
        if part > 0 and self._progress.tasks[task].start_time is None:
            self._progress.start_task(task)
        self._progress.update(task, completed=part, left=self.left if 0 < part < 1 else "")

    def wait(self) -> None:
        """Do nothing: the bars are still visible."""

    def stop(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, console: Console, began: float) -> None:
        self._console = console
        self._began = began
        self._shown = dict.fromkeys(SHOWN, 0.0)
        self.left = ""  # time left, in words
        self._latest = ""  # the stage that progressed last
        self._printed_at = began

    def start(self) -> None:
        """Print nothing before the first line."""

    def show(self, name: str, part: float) -> None:
        before, self._shown[name] = self._shown[name], part
        if part <= before:
            return
        self._latest = name
        if part >= 1.0 or time.monotonic() - self._printed_at > LINE_SECONDS:
            self._print(name)

    def wait(self) -> None:
        """Repeat the latest line if there was no line for a while."""
        if time.monotonic() - self._printed_at > SILENT_SECONDS:
            self._print(self._latest)

    def _print(self, name: str) -> None:
        self._printed_at = time.monotonic()
        step = f"{name:<8} {100 * self._shown[name]:3.0f} %" if name else "waiting for a worker"
        seconds = f"{self._printed_at - self._began:6.1f} s"
        self._console.print("  ".join(filter(None, (f"  {step}", seconds, self.left))))

    def stop(self) -> None:
        """Print nothing at the end."""


def _duration(seconds: float) -> str:
    """Return a time such as 1:05 or 2:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
