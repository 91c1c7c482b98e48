"""DPM-Solver++(2M), second order with one call a step (arXiv 2211.01095, algorithm 2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from contracts.samplers import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def sample(
    denoise: Callable[[Tensor, int], Tensor],
    noise: Tensor,
    steps: int,
    *,
    progress: Callable[[float], None],
) -> Tensor:
    """Sample with `steps` timesteps even in log-SNR; return the last prediction."""
    from models.motion.diffusion import log_snr_schedule

    schedule = log_snr_schedule(steps)
    gains = schedule.gains
    x, x0, before = noise, noise, None
    for place, t in enumerate(schedule.timesteps):
        x0 = denoise(x, t)
        progress((place + 1) / steps)
        if place < len(gains):
            h = gains[place]
            slope = x0 if before is None else x0 + (x0 - before) * (h / gains[place - 1] / 2)
            ratio = schedule.sigmas[place + 1] / schedule.sigmas[place]
            alpha = schedule.alphas[place + 1]
            x, before = ratio * x - alpha * math.expm1(-h) * slope, x0
    return x0


SAMPLER = Sampler(
    "dpm-solver", "DPM-Solver++(2M), even in log-SNR: few steps with a small error", sample,
    order=20,
)  # fmt: skip
