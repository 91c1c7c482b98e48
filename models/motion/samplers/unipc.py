"""UniPC of second order: a predictor, and a corrector without more calls (arXiv 2302.04867)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.samplers import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from models.motion.diffusion import LogSnrSchedule


@dataclass(frozen=True)
class Step:
    """The step from one timestep to the next, with the predictions that are known before it."""

    x: Tensor  # the signal at the first timestep
    x0: Tensor  # its prediction
    before: Tensor | None  # the prediction of the timestep before; None in the first step
    h: float  # log-SNR gained in this step
    h_before: float  # and in the step before
    sigma_ratio: float  # sigma at the second timestep over that at the first
    alpha: float  # at the second timestep

    @property
    def _growth(self) -> float:
        return math.expm1(-self.h)

    @property
    def _euler(self) -> Tensor:
        return self.sigma_ratio * self.x - self.alpha * self._growth * self.x0

    @property
    def _ratio(self) -> float:
        return -self.h_before / self.h

    def predicted(self) -> Tensor:
        """Return the signal at the second timestep from what is known before it."""
        if self.before is None:
            return self._euler
        slope = (self.before - self.x0) / self._ratio
        return self._euler - self.alpha * self._growth * slope / 2

    def corrected(self, x0: Tensor) -> Tensor:
        """Return that signal again, with the prediction `x0` at the second timestep."""
        scale, later = self.alpha * self._growth, x0 - self.x0
        if self.before is None:
            return self._euler - scale * later / 2
        first = self._growth / -self.h - 1
        second = first / -self.h - 1 / 2
        b1, b2 = first / self._growth, 2 * second / self._growth
        weight = (b1 - b2) / (1 - self._ratio)
        slope = (self.before - self.x0) / self._ratio
        return self._euler - scale * (weight * slope + (b1 - weight) * later)


def sample(
    denoise: Callable[[Tensor, int], Tensor],
    noise: Tensor,
    steps: int,
    *,
    progress: Callable[[float], None],
) -> Tensor:
    """Sample with `steps` timesteps even in log-SNR; return the last prediction."""
    from models.motion.diffusion import log_snr_schedule

    result = noise
    for place, (_, x0) in enumerate(solve(denoise, noise, log_snr_schedule(steps)), start=1):
        result = x0
        progress(place / steps)
    return result


def solve(
    denoise: Callable[[Tensor, int], Tensor], noise: Tensor, schedule: LogSnrSchedule
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the signal, corrected, and its prediction at each timestep of a schedule."""
    gains = schedule.gains
    x, before, step = noise, None, None
    for place, t in enumerate(schedule.timesteps):
        x0 = denoise(x, t)
        x = x if step is None else step.corrected(x0)
        yield x, x0
        if place < len(gains):
            ratio = schedule.sigmas[place + 1] / schedule.sigmas[place]
            alpha = schedule.alphas[place + 1]
            step = Step(x, x0, before, gains[place], gains[place - 1], ratio, alpha)
            x, before = step.predicted(), x0


SAMPLER = Sampler(
    "unipc", "UniPC of second order, even in log-SNR: a corrector at no further cost", sample,
    order=30,
)  # fmt: skip
