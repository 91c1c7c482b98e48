"""The diffusion process: schedule, respacing, DDIM, guidance. Functions; no network, no state.

Letters: x a noisy signal, x0 a clean one, any shape [B, ...]; S steps of 1000. The coefficients are
picked in float64 and cast to the signal's type.
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

Denoise = Callable[[Tensor, int], Tensor]  # (x, t) -> x0; t counts in the full process
Progress = Callable[[float], None]  # share of the steps that are done


@dataclass(frozen=True)
class TimestepSchedule:
    """Which steps of the full process are taken, and how noisy they are; in rising order."""

    timesteps: tuple[int, ...]  # [S]
    alphas_cumprod: Tensor  # [S] float64, cumulative products (abar)
    previous: Tensor  # [S] float64, abar of the step before, 1 for the first


def cosine_betas(steps: int = STEPS) -> Tensor:
    """Betas of the cosine schedule (arXiv 2102.09672, eq. 17), [steps] float64."""

    def alpha(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = [alpha((i + 1) / steps) / alpha(i / steps) for i in range(steps)]
    return torch.tensor([min(1 - r, LARGEST_BETA) for r in ratios], dtype=torch.float64)


def cumulative_alphas() -> Tensor:
    """abar of each step of the full process, [1000] float64."""
    return torch.cumprod(1 - cosine_betas(), 0)


def ddim_timesteps(count: int) -> tuple[int, ...]:
    """Every i-th step, where some i gives exactly `count`. ValueError tells the nearest that do."""
    for stride in range(1, STEPS):
        if len(range(0, STEPS, stride)) == count:
            return tuple(range(0, STEPS, stride))
    near = sorted(ddim_counts(), key=lambda possible: abs(possible - count))[:2]
    raise ValueError(
        f"{count} steps cannot be spaced evenly over {STEPS}; near it are "
        f"{' and '.join(str(n) for n in sorted(near))}"
    )


@cache
def ddim_counts() -> tuple[int, ...]:
    """The counts that `ddim_timesteps` takes, rising."""
    return tuple(sorted({len(range(0, STEPS, stride)) for stride in range(1, STEPS)}))


def spread_timesteps(count: int) -> tuple[int, ...]:
    """`count` steps from the first to the last, as even as whole numbers allow; 1 is the last."""
    if not 1 <= count <= STEPS:
        raise ValueError(f"steps must be 1 to {STEPS}, got {count}")
    if count == 1:
        return (STEPS - 1,)
    return tuple(round(i * (STEPS - 1) / (count - 1)) for i in range(count))


def spacing(timesteps: Sequence[int]) -> TimestepSchedule:
    """The process over some steps of the full one, given in rising order."""
    alphas_cumprod = cumulative_alphas()[list(timesteps)]
    return TimestepSchedule(
        tuple(timesteps),
        alphas_cumprod,
        torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]]),
    )


def spacing_for(count: int) -> TimestepSchedule:
    """`count` steps: the reference's choice where it has one, else spread over all of them."""
    steps = ddim_timesteps(count) if count in ddim_counts() else spread_timesteps(count)
    return spacing(steps)


def q_sample(x0: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The clean signal with noise: x0 and noise [B, ...], abar [B] float64."""
    scale = alphas_cumprod.sqrt().to(x0.dtype).view(-1, *[1] * (x0.ndim - 1))
    spread = (1 - alphas_cumprod).sqrt().to(x0.dtype).view(-1, *[1] * (x0.ndim - 1))
    return scale * x0 + spread * noise


def ddim_step(x: Tensor, x0: Tensor, space: TimestepSchedule, step: int) -> Tensor:
    """One step towards the clean signal (arXiv 2010.02502, eq. 12 with eta 0); no clipping."""
    alpha, previous = space.alphas_cumprod[step], space.previous[step].to(x.dtype)
    scale, spread = (1 / alpha).sqrt().to(x.dtype), (1 / alpha - 1).sqrt().to(x.dtype)
    noise = (scale * x - x0) / spread
    return x0 * previous.sqrt() + (1 - previous).sqrt() * noise


def ddim_sample(
    denoise: Denoise,
    noise: Tensor,
    space: TimestepSchedule,
    *,
    progress: Progress = lambda _share: None,
) -> Tensor:
    """From noise to the last prediction of the clean signal, same shape.

    The reference also draws noise in every step and multiplies it by zero; it is not drawn here.
    """
    x, x0 = noise, noise
    for done, step in enumerate(reversed(range(len(space.timesteps))), start=1):
        x0 = denoise(x, space.timesteps[step])
        x = ddim_step(x, x0, space, step)
        progress(done / len(space.timesteps))
    return x0


def guided(both: Denoise, scale: float | Tensor) -> Denoise:
    """Classifier-free guidance (arXiv 2207.12598), both passes as one batch.

    both: takes [2 B, ...], answers for the first half with the condition, for the second without.
    scale: one for all, or [B, 1, ...].
    """

    def denoise(x: Tensor, t: int) -> Tensor:
        known, unknown = both(torch.cat([x, x]), t).chunk(2)
        return unknown + scale * (known - unknown)

    return denoise
