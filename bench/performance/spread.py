"""Repeated costs of some work, its child processes included."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch

from bench.timing import Cost

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def cpu_seconds() -> float:
    """CPU seconds of this process, and of its child processes that have ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    usages = [resource.getrusage(each) for each in who]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measured(work: Callable[[], Result]) -> tuple[Result, Cost]:
    """Return the result of some work, and its cost with child processes."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # GPU work belongs to the call that started it
    return result, Cost(cpu_seconds() - cpu, time.perf_counter() - wall)


@dataclass(frozen=True)
class Spread:
    """Costs of equal work in one run."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def add(self, cost: Cost) -> None:
        """Add one repetition."""
        self.cpu.append(cost.cpu)
        self.wall.append(cost.wall)

    @property
    def median(self) -> Cost:
        """The middle of the repetitions."""
        return Cost(statistics.median(self.cpu), statistics.median(self.wall))
