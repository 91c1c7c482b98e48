"""Samplers of few steps, against ideal denoisers and the solution of many steps."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from contracts.samplers import SAMPLERS
from models.motion.diffusion import (
    STEPS,
    cumulative_alphas,
    guided,
    half_log_snr,
    log_snr_timesteps,
)

FEW_STEPS = ("dpm-solver", "unipc")
Denoise = Callable[[Tensor, int], Tensor]


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sampled(name: str, denoise: Denoise, noise: Tensor, steps: int) -> Tensor:
    return SAMPLERS[name].sample(denoise, noise, steps, progress=lambda _: None)


def of_normal_data(x: Tensor, t: int) -> Tensor:
    """Mean of the clean signal given x, where the clean signal is N(3, 0.5)."""
    alpha, spread = float(cumulative_alphas()[t]), 0.5
    gain = math.sqrt(alpha) * spread**2 / (alpha * spread**2 + 1 - alpha)
    return 3 + gain * (x - 3 * math.sqrt(alpha))


@pytest.mark.parametrize("name", FEW_STEPS)
@pytest.mark.parametrize("steps", [1, 2, 11])
def test_a_perfect_denoiser_is_exact_in_any_number_of_calls(name: str, steps: int) -> None:
    clean, timesteps = randn(2, 5, 3), []

    def denoise(_: Tensor, t: int) -> Tensor:
        timesteps.append(t)
        return clean

    assert torch.equal(sampled(name, denoise, randn(2, 5, 3, seed=2), steps), clean)
    assert timesteps == list(reversed(log_snr_timesteps(steps)))


def errors(name: str, *counts: int) -> list[float]:
    """Distance from the solution, for each number of steps."""
    noise = randn(500, 1).double()
    solution = sampled("dpm-solver", of_normal_data, noise, 400)
    found = [sampled(name, of_normal_data, noise, steps) for steps in counts]
    return [float((each - solution).square().mean().sqrt()) for each in found]


@pytest.mark.parametrize("name", FEW_STEPS)
def test_few_steps_are_nearer_to_the_solution_than_many_of_ddim(name: str) -> None:
    (few,), (many,) = errors(name, 11), errors("ddim", 25)
    assert few < many / 3


@pytest.mark.parametrize("name", FEW_STEPS)
def test_the_error_falls_almost_with_the_square_of_the_step(name: str) -> None:
    coarse, fine = errors(name, 6, 24)
    assert coarse / fine > 4**1.5  # 4 for a method of first order


@pytest.mark.parametrize("name", FEW_STEPS)
def test_progress_rises_to_one(name: str) -> None:
    shares: list[float] = []
    SAMPLERS[name].sample(lambda x, _: x, randn(1, 2), 8, progress=shares.append)
    assert shares == [n / 8 for n in range(1, 9)]


@pytest.mark.parametrize("count", [1, 2, 6, 11, 50, 100, 777, 1000])
def test_timesteps_even_in_log_snr_are_a_rising_subset_from_pure_noise(count: int) -> None:
    timesteps = log_snr_timesteps(count)
    assert len(timesteps) == count
    assert all(a < b for a, b in pairwise(timesteps))
    assert timesteps[0] >= 0
    assert timesteps[-1] >= STEPS - 2


def test_few_timesteps_are_even_in_log_snr() -> None:
    timesteps = log_snr_timesteps(11)
    steps = half_log_snr()[list(timesteps)].diff()
    assert float(steps.std() / steps.mean().abs()) < 0.1
    assert (timesteps[0], timesteps[-1]) == (7, 998)


@pytest.mark.parametrize("count", [0, 1001])
def test_step_counts_out_of_range_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 1000, got {count}"):
        log_snr_timesteps(count)


def test_guidance_ends_at_its_timestep() -> None:
    def both(x: Tensor, _: int) -> Tensor:
        known, unknown = x.chunk(2)
        return torch.cat([known + 1, unknown])

    def conditional(x: Tensor, _: int) -> Tensor:
        return x + 1

    x, until = torch.zeros(1), 100
    assert float(guided(both, 3.0, conditional=conditional, until=until)(x, 99)) == 1

    denoise = guided(both, 3.0, conditional=conditional, until=until)
    assert float(denoise(x, 100)) == 3
    # The predictions of noise, (x - alpha x0) / sigma, go on differing as at 100.
    noise = (-half_log_snr()).exp()
    assert float(denoise(x, 50)) == pytest.approx(1 + 2 * float(noise[50] / noise[100]))
