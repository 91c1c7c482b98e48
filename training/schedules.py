"""Learning rates of the released tokenizer and guide, update by update."""

from __future__ import annotations

from dataclasses import dataclass


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

    def at(self, update: int) -> float:
        """The rate of an update, counted from 0."""
        warm = self.warmup - 1 if self.warmup_apart else self.warmup
        if update < warm:
            first = 2 if self.warmup_apart else 1
            return self.rate * (update + first) / (self.warmup + 1)
        last = self.rate * self.warmup / (self.warmup + 1)
        counted_from = warm if self.warmup_apart else 0
        unseen = 0 if self.warmup_apart else warm - 1  # overwritten by the warm-up
        passed = sum(unseen < stone <= update - counted_from for stone in self.milestones)
        return last * self.gamma**passed


RELEASED_TOKENIZER = StepSchedule(1e-3, 1000, (300_000,), 0.05, warmup_apart=True)
RELEASED_GUIDE = StepSchedule(2e-4, 5000, (50_000, 400_000), 0.1)
