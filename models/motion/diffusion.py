"""The diffusion process: noise schedule, spacing of timesteps, guidance.

Letters: x a noisy signal, x0 a clean one, any shape [B, ...]; S of 1000 timesteps. Coefficients are
computed in float64 and cast to the type of the signal. Samplers are in `models.motion.samplers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

STEPS = 1000
LARGEST_BETA = 0.999

Denoise = Callable[[Tensor, int], Tensor]  # (x, t) -> x0; t is a timestep of the full process


@dataclass(frozen=True)
class TimestepSchedule:
    """The timesteps that a sampler visits, ascending, and their noise levels."""

    timesteps: tuple[int, ...]  # [S]
    alphas_cumprod: Tensor  # [S] float64, cumulative products (abar)
    previous: Tensor  # [S] float64, abar of the timestep before, 1 for the first


def cosine_betas(steps: int = STEPS) -> Tensor:
    """Return the betas of the cosine schedule (arXiv 2102.09672, eq. 17), [steps] float64."""

    def alpha(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = [alpha((i + 1) / steps) / alpha(i / steps) for i in range(steps)]
    return torch.tensor([min(1 - r, LARGEST_BETA) for r in ratios], dtype=torch.float64)


def cumulative_alphas() -> Tensor:
    """Return abar of each timestep of the full process, [1000] float64."""
    return torch.cumprod(1 - cosine_betas(), 0)


def ddim_timesteps(count: int) -> tuple[int, ...]:
    """Return every i-th timestep, where a stride i gives exactly `count`.

    Raises: ValueError: when none does, with the nearest counts that work.
    """
    for stride in range(1, STEPS):
        if len(range(0, STEPS, stride)) == count:
            return tuple(range(0, STEPS, stride))
    near = sorted(ddim_counts(), key=lambda possible: abs(possible - count))[:2]
    raise ValueError(
        f"steps: {count} cannot be spaced evenly over {STEPS}; the nearest counts are "
        f"{' and '.join(str(n) for n in sorted(near))}"
    )


@cache
def ddim_counts() -> tuple[int, ...]:
    """Return the counts that `ddim_timesteps` accepts, ascending."""
    return tuple(sorted({len(range(0, STEPS, stride)) for stride in range(1, STEPS)}))


def spread_timesteps(count: int) -> tuple[int, ...]:
    """Return `count` timesteps from the first to the last, rounded; 1 gives the last."""
    if not 1 <= count <= STEPS:
        raise ValueError(f"steps must be 1 to {STEPS}, got {count}")
    if count == 1:
        return (STEPS - 1,)
    return tuple(round(i * (STEPS - 1) / (count - 1)) for i in range(count))


def schedule_of(timesteps: Sequence[int]) -> TimestepSchedule:
    """Return the schedule of some timesteps of the full process, given in ascending order."""
    alphas_cumprod = cumulative_alphas()[list(timesteps)]
    return TimestepSchedule(
        tuple(timesteps),
        alphas_cumprod,
        torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]]),
    )


def schedule_for(count: int) -> TimestepSchedule:
    """Return the schedule of `count` steps: the reference's spacing, else an even spread."""
    timesteps = ddim_timesteps(count) if count in ddim_counts() else spread_timesteps(count)
    return schedule_of(timesteps)


def q_sample(x0: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Add noise to a clean signal: x0 and noise [B, ...], abar [B] float64 -> x [B, ...]."""
    scale = alphas_cumprod.sqrt().to(x0.dtype).view(-1, *[1] * (x0.ndim - 1))
    spread = (1 - alphas_cumprod).sqrt().to(x0.dtype).view(-1, *[1] * (x0.ndim - 1))
    return scale * x0 + spread * noise


def guided(both: Denoise, scale: float | Tensor) -> Denoise:
    """Return a denoiser with classifier-free guidance (arXiv 2207.12598), both passes in a batch.

    both: denoises [2 B, ...], the first half with the condition, the second without.
    scale: a number, or [B, 1, ...].
    """

    def denoise(x: Tensor, t: int) -> Tensor:
        conditional, unconditional = both(torch.cat([x, x]), t).chunk(
            2
        )  # [2 B, ...] -> 2 x [B, ...]
        return unconditional + scale * (conditional - unconditional)

    return denoise
