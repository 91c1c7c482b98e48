"""Resampling of signals that are known at both rates."""

import math

import pytest
import torch

from models.motion.resample import resample, resample_with, sinc_filters

EDGE = 200  # samples at each end that are affected by zero padding


def sine(rate: int, hertz: float, seconds: float = 0.5) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize(
    ("source", "target"), [(48_000, 16_000), (16_000, 48_000), (44_100, 48_000), (8_000, 48_000)]
)
def test_a_sine_stays_a_sine(source: int, target: int) -> None:
    got = resample(sine(source, 440)[None], source, target)[0]
    torch.testing.assert_close(got[EDGE:-EDGE], sine(target, 440)[EDGE:-EDGE], rtol=0, atol=5e-3)


def test_frequencies_above_the_lower_nyquist_rate_are_removed() -> None:
    got = resample(sine(48_000, 10_000)[None], 48_000, 16_000)[0]
    assert got[EDGE:-EDGE].abs().max() < 0.02


def test_a_constant_stays_constant() -> None:
    got = resample(torch.ones(1, 4800), 48_000, 16_000)[0]
    torch.testing.assert_close(got[50:-50], torch.ones(1500), rtol=0, atol=2e-3)


@pytest.mark.parametrize("samples", [1, 2, 3, 1600, 4799, 4801])
@pytest.mark.parametrize(
    ("source", "target"), [(48_000, 16_000), (44_100, 48_000), (48_000, 44_100)]
)
def test_the_length_is_rounded_up(samples: int, source: int, target: int) -> None:
    got = resample(torch.ones(2, samples), source, target)
    assert got.shape == (2, math.ceil(samples * target / source))


def test_the_same_rate_returns_the_same_signal() -> None:
    signal = torch.randn(1, 100)
    assert resample(signal, 48_000, 48_000) is signal


def test_signals_of_a_batch_are_independent() -> None:
    signals = torch.stack([sine(48_000, 440), sine(48_000, 100)])
    alone = torch.cat([resample(signal[None], 48_000, 16_000) for signal in signals])
    torch.testing.assert_close(resample(signals, 48_000, 16_000), alone)


def test_precomputed_filters_give_the_same_result() -> None:
    signal = sine(48_000, 440)[None]
    filters = sinc_filters(48_000, 16_000)
    assert filters.shape == (1, 1, 41)
    torch.testing.assert_close(
        resample_with(signal, filters, 48_000, 16_000), resample(signal, 48_000, 16_000)
    )


def test_rates_that_need_too_many_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="44101 to 48000 Hz needs 48000 filters"):
        resample(torch.zeros(1, 10), 44_101, 48_000)
