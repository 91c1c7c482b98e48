"""Diffusion process against closed forms, with ideal denoisers."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.motion.diffusion import (
    STEPS,
    cosine_betas,
    cumulative_alphas,
    ddim_counts,
    ddim_timesteps,
    guided,
    q_sample,
    schedule_for,
    schedule_of,
    spread_timesteps,
)
from models.motion.samplers.ddim import ddim_sample, ddim_step


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_betas_follow_the_cosine() -> None:
    def alpha(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    alphas_cumprod = cumulative_alphas()
    for step in (0, 10, 500, 990):
        expected = alpha((step + 1) / STEPS) / alpha(0)
        assert float(alphas_cumprod[step]) == pytest.approx(expected, rel=1e-9)
    assert float(cosine_betas().max()) == 0.999


def test_cumulative_alphas_fall_from_almost_one_to_almost_zero() -> None:
    alphas_cumprod = cumulative_alphas()
    assert alphas_cumprod.dtype == torch.float64
    assert (alphas_cumprod.diff() < 0).all()
    assert alphas_cumprod[0] > 0.9999
    assert alphas_cumprod[-1] < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 10, 37, 100])
def test_a_perfect_denoiser_makes_ddim_exact(steps: int) -> None:
    clean, timesteps = randn(2, 5, 3), []

    def denoise(_: Tensor, t: int) -> Tensor:
        timesteps.append(t)
        return clean

    space = schedule_for(steps)
    assert torch.equal(ddim_sample(denoise, randn(2, 5, 3, seed=2), space), clean)
    assert timesteps == list(reversed(space.timesteps))


def test_a_step_with_the_clean_signal_keeps_its_noise() -> None:
    space, clean, noise = schedule_for(100), randn(2, 5, 3), randn(2, 5, 3, seed=2)
    for step in (99, 50, 1):
        here, there = (
            q_sample(clean, noise, space.alphas_cumprod[[s, s]]) for s in (step, step - 1)
        )
        torch.testing.assert_close(ddim_step(here, clean, space, step), there, rtol=0, atol=1e-4)


def test_the_last_step_ends_on_the_prediction() -> None:
    space, predicted = schedule_for(10), randn(1, 4)
    torch.testing.assert_close(ddim_step(randn(1, 4, seed=2), predicted, space, 0), predicted)


def test_the_optimal_denoiser_of_normal_data_samples_the_same_distribution() -> None:
    mean, spread = 3.0, 0.5
    alphas_cumprod = cumulative_alphas()

    def optimal(x: Tensor, t: int) -> Tensor:
        """Mean of the clean signal given x; both are normal."""
        a, s = float(alphas_cumprod[t].sqrt()), float((1 - alphas_cumprod[t]).sqrt())
        gain = a * spread**2 / (a**2 * spread**2 + s**2)
        return mean + gain * (x - a * mean)

    samples = ddim_sample(optimal, randn(20_000, 1), schedule_for(250))
    assert float(samples.mean()) == pytest.approx(mean, abs=0.02)
    assert float(samples.std()) == pytest.approx(spread, rel=0.03)


def test_adding_noise_preserves_the_variance() -> None:
    alphas_cumprod = torch.tensor([0.9, 0.2], dtype=torch.float64)
    mixed = q_sample(randn(2, 50_000), randn(2, 50_000, seed=2), alphas_cumprod)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.var(1), torch.ones(2), rtol=0.02, atol=0)


def test_guidance_extrapolates_from_unconditional_to_conditional() -> None:
    def both(x: Tensor, t: int) -> Tensor:
        known, unknown = x.chunk(2)
        return torch.cat([2 * known + t, unknown - 1])

    x = randn(3, 4)
    torch.testing.assert_close(guided(both, 1.0)(x, 7), 2 * x + 7)
    torch.testing.assert_close(guided(both, 0.0)(x, 7), x - 1)
    torch.testing.assert_close(guided(both, 3.0)(x, 7), (x - 1) + 3 * (x + 8))


def test_each_take_may_have_its_own_guidance() -> None:
    def both(x: Tensor, _: int) -> Tensor:
        known, unknown = x.chunk(2)
        return torch.cat([known + 1, unknown])

    scale = torch.tensor([0.0, 5.0]).view(2, 1)
    torch.testing.assert_close(guided(both, scale)(torch.zeros(2, 1), 0), scale)


def test_any_number_of_timesteps_is_a_rising_subset() -> None:
    for count in range(1, STEPS + 1):
        steps = spread_timesteps(count)
        assert len(steps) == count
        assert all(a < b for a, b in pairwise(steps))
        assert steps[0] >= 0
        assert steps[-1] == STEPS - 1  # pure noise


@pytest.mark.parametrize("count", [1, 2, 3, 7, 33, 300, 501, 999, 1000])
def test_any_number_of_steps_has_a_schedule(count: int) -> None:
    space = schedule_for(count)
    assert len(space.timesteps) == len(space.alphas_cumprod) == len(space.previous) == count
    assert space.previous[0] == 1
    assert torch.equal(space.previous[1:], space.alphas_cumprod[:-1])
    assert torch.equal(space.alphas_cumprod, cumulative_alphas()[list(space.timesteps)])


@pytest.mark.parametrize(("count", "stride"), [(10, 100), (50, 20), (100, 10), (500, 2)])
def test_step_counts_of_the_reference_use_its_timesteps(count: int, stride: int) -> None:
    assert schedule_for(count).timesteps == tuple(range(0, STEPS, stride))


def test_all_step_counts_of_the_reference_are_evenly_spaced() -> None:
    assert {10, 25, 50, 100, 125, 200, 250, 500, 1000} <= set(ddim_counts())
    for count in ddim_counts():
        steps = ddim_timesteps(count)
        assert len(steps) == count
        assert len(set(torch.tensor(steps).diff().tolist())) <= 1


def test_the_error_for_an_uneven_count_gives_its_neighbours() -> None:
    with pytest.raises(ValueError, match=r"300 cannot be spaced .* nearest counts are 250 and 334"):
        ddim_timesteps(300)


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_step_counts_out_of_range_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 1000, got {count}"):
        schedule_for(count)


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    ddim_sample(lambda x, _: x, randn(1, 2), schedule_for(8), progress=shares.append)
    assert shares == [n / 8 for n in range(1, 9)]


def test_a_schedule_may_use_any_timesteps() -> None:
    assert schedule_of([3, 700]).timesteps == (3, 700)
