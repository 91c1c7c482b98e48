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
NOISIEST, CLEANEST = 998, 7  # timesteps between which solvers in log-SNR space theirs

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


@cache
def half_log_snr() -> Tensor:
    """Return log(alpha / sigma) of each timestep of the full process, [1000] float64, falling."""
    alphas_cumprod = cumulative_alphas()
    return (alphas_cumprod / (1 - alphas_cumprod)).log() / 2


def log_snr_timesteps(count: int) -> tuple[int, ...]:
    """Return `count` timesteps, ascending and distinct, nearly even in log-SNR, from 7 to 998.

    The signal appears in noise at an even rate then, so a solver of few steps makes equal errors
    (arXiv 2206.00927, section 5.2). Timestep 999 is left out: its beta is clipped, so that its
    log-SNR is far from that of 998, and both are pure noise. One step ends at 998.
    """
    if not 1 <= count <= STEPS:
        raise ValueError(f"steps must be 1 to {STEPS}, got {count}")
    return even_in_log_snr(count, NOISIEST, CLEANEST)


def even_in_log_snr(count: int, noisiest: int, cleanest: int) -> tuple[int, ...]:
    """Return `count` timesteps, ascending and distinct, nearly even in log-SNR between two."""
    levels = half_log_snr()
    ends = float(levels[noisiest]), float(levels[cleanest])
    wanted = torch.linspace(*ends, count, dtype=torch.float64)
    nearest = (levels[None] - wanted[:, None]).abs().argmin(1).flip(0).tolist()
    timesteps: list[int] = []
    for place, t in enumerate(nearest):  # near the clean signal, timesteps are sparse
        free = timesteps[-1] + 1 if timesteps else 0
        timesteps.append(min(max(t, free), STEPS - count + place))
    return tuple(timesteps)


@dataclass(frozen=True)
class LogSnrSchedule:
    """Timesteps of a solver in log-SNR, from noise to the clean signal; coefficients are floats."""

    timesteps: tuple[int, ...]  # [S] descending
    alphas: tuple[float, ...]  # [S] scale of the clean signal
    sigmas: tuple[float, ...]  # [S] scale of the noise
    gains: tuple[float, ...]  # [S - 1] half log-SNR gained by each step


def log_snr_schedule(count: int) -> LogSnrSchedule:
    """Return the schedule of `log_snr_timesteps`."""
    return log_snr_schedule_of(log_snr_timesteps(count))


def log_snr_schedule_of(ascending: Sequence[int]) -> LogSnrSchedule:
    """Return the schedule of some timesteps of the full process, given in ascending order."""
    timesteps = tuple(ascending)[::-1]
    alphas_cumprod = cumulative_alphas()[list(timesteps)]
    gains = half_log_snr()[list(timesteps)].diff()
    return LogSnrSchedule(
        timesteps,
        tuple(alphas_cumprod.sqrt().tolist()),
        tuple((1 - alphas_cumprod).sqrt().tolist()),
        tuple(gains.tolist()),
    )


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


def guided(
    both: Denoise,
    scale: float | Tensor,
    *,
    conditional: Denoise | None = None,
    until: int = 0,
) -> Denoise:
    """Return a denoiser with classifier-free guidance (arXiv 2207.12598), both passes in a batch.

    both: denoises [2 B, ...], the first half with the condition, the second without.
    scale: a number, or [B, 1, ...].
    conditional: denoises [B, ...] with the condition; it alone denoises timesteps below `until`
    (arXiv 2404.07724), where the predictions of noise are taken to differ as in the last call with
    both passes, which then matters little.
    """
    difference: Tensor | None = None  # of the predictions of noise, up to a sign, [B, ...]

    def denoise(x: Tensor, t: int) -> Tensor:
        nonlocal difference
        noise = math.exp(-float(half_log_snr()[t]))  # sigma / alpha
        if conditional is not None and t < until:
            known = conditional(x, t)
            return known if difference is None else known + (scale - 1) * noise * difference
        known, unknown = both(torch.cat([x, x]), t).chunk(2)  # [2 B, ...] -> 2 x [B, ...]
        if until:
            difference = (known - unknown) / noise
        return unknown + scale * (known - unknown)

    return denoise
