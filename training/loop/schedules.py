"""Learning rates, update by update: a cosine, a constant, and those of the released networks.

Each has `at(update, share)`: the update is counted from 0, share is how much of the run is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up by updates, then a cosine over the run, by steps or by the clock."""

    rate: float
    warmup: int = 100
    final: float = 0.05  # share of the rate that is left at the end

    def at(self, update: int, share: float) -> float:
        """The rate of an update."""
        warm = min(1.0, (update + 1) / max(1, self.warmup))
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, share))
        return self.rate * warm * (self.final + (1 - self.final) * cosine)


@dataclass(frozen=True)
class ConstantSchedule:
    """One rate from the first update to the last, as the released denoisers had it."""

    rate: float

    def at(self, _update: int, _share: float) -> float:
        """The rate."""
        return self.rate


@dataclass(frozen=True)
class StepSchedule:
    """Linear warm-up, then the last rate of the warm-up times gamma for every milestone passed.

    The warm-up ends a hair below `rate` and the schedule never goes there: released numbers depend
    on it.
    """

    rate: float
    warmup: int  # updates, or one more where `warmup_apart`
    milestones: tuple[int, ...]
    gamma: float
    warmup_apart: bool = False  # the tokenizer's warm-up is not counted by the milestones

    def at(self, update: int, _share: float = 0.0) -> float:
        """The rate of an update; how much of the run is over says nothing here."""
        warm = self.warmup - 1 if self.warmup_apart else self.warmup
        if update < warm:
            first = 2 if self.warmup_apart else 1
            return self.rate * (update + first) / (self.warmup + 1)
        last = self.rate * self.warmup / (self.warmup + 1)
        counted_from = warm if self.warmup_apart else 0
        unseen = 0 if self.warmup_apart else warm - 1  # overwritten by the warm-up
        passed = sum(unseen < stone <= update - counted_from for stone in self.milestones)
        return last * self.gamma**passed


Schedule = CosineSchedule | ConstantSchedule | StepSchedule
SCHEDULES = {"cosine": CosineSchedule, "constant": ConstantSchedule, "steps": StepSchedule}
