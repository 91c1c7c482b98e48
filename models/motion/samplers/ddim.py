"""DDIM without noise (arXiv 2010.02502, eta = 0): the sampler of the released people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.samplers import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from models.motion.diffusion import TimestepSchedule


def ddim_step(x: Tensor, x0: Tensor, schedule: TimestepSchedule, step: int) -> Tensor:
    """Return x [B, ...] one step closer to the clean signal (eq. 12 with eta = 0); no clipping."""
    alpha, previous = schedule.alphas_cumprod[step], schedule.previous[step].to(x.dtype)
    scale, spread = (1 / alpha).sqrt().to(x.dtype), (1 / alpha - 1).sqrt().to(x.dtype)
    noise = (scale * x - x0) / spread
    return x0 * previous.sqrt() + (1 - previous).sqrt() * noise


def ddim_sample(
    denoise: Callable[[Tensor, int], Tensor],  # (x, timestep) -> x0
    noise: Tensor,  # [B, ...]
    schedule: TimestepSchedule,
    *,
    progress: Callable[[float], None] = lambda _share: None,
) -> Tensor:
    """Return the last prediction of the clean signal, in the shape of `noise`.

    The reference samples noise in every step and multiplies it by zero; this function does not.
    """
    x, x0 = noise, noise
    for done, step in enumerate(reversed(range(len(schedule.timesteps))), start=1):
        x0 = denoise(x, schedule.timesteps[step])
        x = ddim_step(x, x0, schedule, step)
        progress(done / len(schedule.timesteps))
    return x0


def sample(
    denoise: Callable[[Tensor, int], Tensor],
    noise: Tensor,
    steps: int,
    *,
    progress: Callable[[float], None],
) -> Tensor:
    """Sample with `steps` evenly spaced timesteps."""
    from models.motion.diffusion import schedule_for

    return ddim_sample(denoise, noise, schedule_for(steps), progress=progress)


SAMPLER = Sampler("ddim", "DDIM, the sampler of the released people", sample, order=10)
