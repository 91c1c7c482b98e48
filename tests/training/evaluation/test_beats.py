"""Beats: onsets of sounds, rests of the body, and their alignment."""

import numpy as np
import pytest

from training.data.audio import FRAME_RATE, SAMPLE_RATE
from training.data.voice_activity import while_speaking
from training.evaluation.beats import (
    TOLERANCE,
    alignment,
    frame_times,
    kinematic_beats,
    onset_strength,
    onsets,
)

BEGINNINGS = np.array([0.5, 1.1, 1.6, 2.4])


def bursts(*, loud: float = 0.3, seconds: float = 3.0) -> np.ndarray:
    """Decaying bursts of a vowel-like tone, with a little noise."""
    rng = np.random.default_rng(1)
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 20))
    since = times[:, None] - BEGINNINGS
    swell = np.where(since >= 0, np.exp(-since / 0.06), 0).sum(1)
    return loud * (tone * swell / 2 + 0.002 * rng.normal(size=len(times)))


def resting_at(times: np.ndarray, seconds: float = 3.0) -> np.ndarray:
    """Joint angles [T, J] with speed 0 at the given times and high speed between them."""
    frames = (np.arange(int(seconds * FRAME_RATE) - 1) + 1) / FRAME_RATE
    gap = np.abs(frames[:, None] - times).min(1)
    speed = np.minimum(gap, 0.2)
    return np.concatenate([[0.0], speed.cumsum()])[:, None] * np.ones(4)


@pytest.mark.parametrize("loud", [0.003, 0.3])
def test_onsets_are_the_starts_of_sounds_at_any_level(loud: float) -> None:
    times = onsets(bursts(loud=loud))
    assert times == pytest.approx(BEGINNINGS, abs=0.03)


def test_silence_and_short_audio_have_no_onsets() -> None:
    assert len(onsets(np.zeros(SAMPLE_RATE))) == 0
    assert len(onset_strength(np.full(100, 0.5))) == 0


def test_beats_are_the_rests_of_the_body() -> None:
    assert kinematic_beats(resting_at(BEGINNINGS)) == pytest.approx(BEGINNINGS, abs=0.04)


def test_steady_movement_and_no_movement_have_no_beats() -> None:
    steady = np.arange(60.0)[:, None] * np.ones(4)
    assert len(kinematic_beats(np.round(steady))) == 0
    assert len(kinematic_beats(np.zeros((60, 4)))) == 0


def test_beats_on_onsets_are_aligned_and_shifted_ones_less() -> None:
    assert alignment(BEGINNINGS, BEGINNINGS).tolist() == [1.0] * 4
    for shift in (0.5, 1, 2):
        score = alignment(BEGINNINGS + shift * TOLERANCE, BEGINNINGS)
        assert score == pytest.approx(np.exp(-0.5 * shift**2))
    assert alignment(BEGINNINGS + 0.25, BEGINNINGS).max() < 1e-4


def test_the_nearest_onset_counts() -> None:
    assert alignment(np.array([1.0]), np.array([0.2, 1.05, 3.0])) == pytest.approx(np.exp(-0.5))


def test_without_onsets_the_alignment_is_0_and_without_beats_empty() -> None:
    assert alignment(BEGINNINGS, np.zeros(0)).tolist() == [0.0] * 4
    assert len(alignment(np.zeros(0), BEGINNINGS)) == 0


def test_rests_with_the_voice_score_higher_than_later_ones() -> None:
    marks = onsets(bursts())
    together, later = (
        alignment(kinematic_beats(resting_at(BEGINNINGS + shift)), marks).mean()
        for shift in (0, 0.12)
    )
    assert together > 0.7 > 0.3 > later


def test_only_times_with_speech_count() -> None:
    audio = np.stack([bursts(), bursts()], axis=1)
    audio[: SAMPLE_RATE * 2, 0] = 0
    assert while_speaking(np.array([0.5, 2.45]), audio).tolist() == [2.45]
    audio[:, 0] = 0
    assert len(while_speaking(frame_times(90), audio)) == 0
