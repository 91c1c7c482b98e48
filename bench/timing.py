"""CPU and wall-clock time of two implementations, and the report that compares them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from bench.performance.machine import Machine, this_machine

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Cost:
    """CPU and wall-clock seconds of some work."""

    cpu: float  # of all threads of the process
    wall: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.cpu * times, self.wall * times)

    def __str__(self) -> str:
        return f"{self.cpu:.4g} ({self.wall:.4g})"


NO_COST = Cost(0.0, 0.0)


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """The result of some work, and the cost of one run of it."""

    result: Result
    cost: Cost


@dataclass(frozen=True)
class Report(Generic[Row]):
    """Every measurement of one comparison."""

    device: str
    threads: int
    torch: str
    rows: list[Row]
    machine: Machine
    seed: int = 0  # of the weights; inputs have other fixed seeds

    def title(self, measure: str) -> str:
        """Name the measure, the device, the number of threads and the version of torch."""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{measure} on {self.device}, {threads}, torch {self.torch}"


def timed(work: Callable[[], Result], *, repeats: int = 1) -> Timed[Result]:
    """Return the last result and the mean cost of the runs."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # all GPU work since the last call belongs to these runs
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timed(result, Cost(cpu, wall) * (1 / repeats))


def report_on(device: torch.device, rows: list[Row]) -> Report[Row]:
    """Return a report with the present number of threads and version of torch."""
    threads = torch.get_num_threads()
    return Report(device.type, threads, torch.__version__, rows, this_machine())


def as_json(report: Report[Any]) -> str:
    """Return the report for programs."""
    return json.dumps(asdict(report), indent=1) + "\n"


def write_json(report: Report[Any], path: Path | None) -> None:
    """Write the report to `path`; `-` prints it, None writes nothing."""
    if path == Path("-"):
        print(as_json(report))
    elif path:
        path.write_text(as_json(report), encoding="utf-8")
