"""Time left of a running job: learned rates, corrected by the pace of the job itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.time_left.costs import Cost

PRIOR_SECONDS = 1.0  # of expected work: before it was done, the pace of the job counts little


class TimeLeft:
    """Seconds until the end of one attempt, from its reports of progress.

    A report comes after the work that it reports: the time since the report before belongs to its
    stage, or, when the stage only begins, to the stage before. Stages may overlap.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._costs: Mapping[str, Cost] = {}
        self._expected: Mapping[str, float] = {}
        self._done: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self._stage = ""
        self._overlapped = False
        self._reported_at = now()

    def expect(self, costs: Mapping[str, Cost], rates: Mapping[str, float]) -> None:
        """Set the costs of the stages, in order; without a rate, a stage has the usual one."""
        known = [(cost.seconds, rates[cost.rate]) for cost in costs.values() if cost.rate in rates]
        weight = sum(seconds for seconds, _ in known)
        usual = sum(seconds * rate for seconds, rate in known) / weight if weight else 1.0
        self._costs = costs
        self._expected = {
            stage: cost.seconds * rates.get(cost.rate, usual) for stage, cost in costs.items()
        }
        self._reported_at = self._now()

    def __call__(self, stage: str, fraction: float) -> float | None:
        """Take a report and return the seconds left; None before the costs are known."""
        now = self._now()
        measured = stage if fraction > 0 else self._stage
        if measured in self._expected:
            self._spent[measured] = self._spent.get(measured, 0.0) + now - self._reported_at
        self._reported_at, self._stage = now, stage
        if stage not in self._expected:
            return None
        order = list(self._expected)
        if any(order.index(each) > order.index(stage) for each in self._done):
            self._overlapped = True
        self._done[stage] = min(max(fraction, 0.0), 1.0)
        return self._left()

    @property
    def rates(self) -> Mapping[str, float]:
        """Measured rates of the stages that this attempt has done completely, by name.

        None when stages overlapped: their times are not known apart.
        """
        if self._overlapped:
            return {}
        return {
            cost.rate: self._spent[stage] / cost.seconds
            for stage, cost in self._costs.items()
            if cost.seconds > 0
            and self._done.get(stage, 0.0) >= 1.0
            and cost.begun == 0
            and stage in self._spent
        }

    def _left(self) -> float:
        pace = self._pace()
        last = max(list(self._expected).index(stage) for stage in self._done)
        return sum(
            self._remaining(stage, seconds, pace)
            for place, (stage, seconds) in enumerate(self._expected.items())
            if stage in self._done or place > last  # an earlier one without reports was skipped
        )

    def _pace(self) -> float:
        """Return how much longer the work of this attempt takes than was expected."""
        spent = sum(self._spent.values())
        expected = sum(self._expected[stage] * self._worked(stage) for stage in self._done)
        return (spent + PRIOR_SECONDS) / (expected + PRIOR_SECONDS)

    def _remaining(self, stage: str, expected: float, pace: float) -> float:
        """Return the seconds left of a stage: the further it is, the more its own speed counts."""
        done = self._done.get(stage, 0.0)
        worked = self._worked(stage)
        if worked <= 0:
            return (1 - done) * expected * pace
        own = self._spent.get(stage, 0.0) / worked
        trust = min(1.0, 4 * worked)
        return (1 - done) * ((1 - trust) * expected * pace + trust * own)

    def _worked(self, stage: str) -> float:
        """Return the fraction of a stage that this attempt has done."""
        return max(0.0, self._done.get(stage, 0.0) - self._costs[stage].begun)
