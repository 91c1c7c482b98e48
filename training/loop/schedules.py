"""Learning rate schedules: cosine, constant, and those of the released networks.

Each has `at(update, share)`: updates count from 0, share is the completed fraction of the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up by updates, then a cosine over the run."""

    rate: float
    warmup: int = 100
    final: float = 0.05  # fraction of the rate at the end

    def at(self, update: int, share: float) -> float:
        """Learning rate of an update."""
        warm = min(1.0, (update + 1) / max(1, self.warmup))
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, share))
        return self.rate * warm * (self.final + (1 - self.final) * cosine)


@dataclass(frozen=True)
class ConstantSchedule:
    """A constant rate, as in the training of the released denoisers."""

    rate: float

    def at(self, _update: int, _share: float) -> float:
        """Learning rate of an update."""
        return self.rate


@dataclass(frozen=True)
class StepSchedule:
    """Linear warm-up, then the last warm-up rate times gamma for every milestone passed.

    The warm-up ends slightly below `rate`, which is never reached: released numbers depend on it.
    """

    rate: float
    warmup: int  # updates, plus one with `warmup_apart`
    milestones: tuple[int, ...]
    gamma: float
    warmup_apart: bool = False  # milestones count from the end of the warm-up

    def at(self, update: int, _share: float = 0.0) -> float:
        """Learning rate of an update."""
        warm = self.warmup - 1 if self.warmup_apart else self.warmup
        if update < warm:
            first = 2 if self.warmup_apart else 1
            return self.rate * (update + first) / (self.warmup + 1)
        last = self.rate * self.warmup / (self.warmup + 1)
        counted_from = warm if self.warmup_apart else 0
        unseen = 0 if self.warmup_apart else warm - 1  # the warm-up overwrites these milestones
        passed = sum(unseen < mark <= update - counted_from for mark in self.milestones)
        return last * self.gamma**passed


Schedule = CosineSchedule | ConstantSchedule | StepSchedule
SCHEDULES = {"cosine": CosineSchedule, "constant": ConstantSchedule, "steps": StepSchedule}
