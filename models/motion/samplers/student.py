"""Calls of a person's student, networks that were distilled for them: guidance is folded in.

Source of the idea: arXiv 2202.00512 (progressive distillation). Between its calls the student takes
steps of DDIM. Its timesteps are even in log-SNR, and end where the rest of the solution is left to
the last call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.samplers import STUDENT, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from models.motion.diffusion import TimestepSchedule

LAST = 500  # timestep of the last call: signal and noise are equally strong


def student_schedule(calls: int) -> TimestepSchedule:
    """Return the timesteps of a student with so many calls."""
    from models.motion.diffusion import NOISIEST, even_in_log_snr, schedule_of

    return schedule_of(even_in_log_snr(calls, NOISIEST, LAST))


def sample(
    denoise: Callable[[Tensor, int], Tensor],
    noise: Tensor,
    steps: int,
    *,
    progress: Callable[[float], None],
) -> Tensor:
    """Sample with `steps` calls, as many as the student was made for."""
    from models.motion.samplers.ddim import ddim_sample

    return ddim_sample(denoise, noise, student_schedule(steps), progress=progress)


SAMPLER = Sampler(
    STUDENT,
    "a person's own networks for few calls, with guidance folded in, where they were made",
    sample,
    order=40,
)
