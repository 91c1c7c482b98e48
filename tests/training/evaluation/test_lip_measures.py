"""Measures of lips: by phone, by noise, and the delay of the mouth."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.data.audio import SAMPLE_RATE
from training.data.disturbances import active_level
from training.data.phones import TimedPhone, read_phones
from training.evaluation.lip_measures import (
    NOISES,
    SNR,
    envelope_fit,
    flat_shapes,
    shapes_by_phone,
    with_noise,
)

FRAMES = 300


def voice() -> tuple[np.ndarray, np.ndarray]:
    """Syllables of noise [n], and a mouth that opens with them [T]."""
    rng = np.random.default_rng(1)
    loud = np.repeat(rng.uniform(0, 1, FRAMES // 6), 6)
    gain = np.repeat(loud, SAMPLE_RATE // 30)
    return gain * rng.standard_normal(len(gain)) * 0.2, 10 * loud


@pytest.mark.parametrize("late", [0, 3, -2])
def test_the_lag_is_the_delay_of_the_mouth(late: int) -> None:
    samples, opening = voice()
    correlation, lag = envelope_fit(np.roll(opening, late), samples)
    assert lag == pytest.approx(1000 * late / 30, abs=15)
    if late == 0:
        assert correlation > 0.8


def test_shapes_are_those_at_the_middle_of_phones_and_closure_is_near_them() -> None:
    opening, pucker = np.full(90, 8.0), np.zeros(90)
    opening[30] = 1.0  # closed for one frame, at 1.0 s
    opening[10] = 1.0  # in the middle of a vowel
    pucker[60] = 0.5
    phones = [
        TimedPhone("m", 1.02, 1.08), TimedPhone("p", 2.5, 2.6), TimedPhone("u", 1.98, 2.06),
        TimedPhone("a", 0.3, 0.4), TimedPhone("m", 9.0, 9.1), TimedPhone("_", 0.0, 0.2),
    ]  # fmt: skip
    shapes = shapes_by_phone(phones, opening, {"mouthPucker": pucker})
    assert shapes["p b m"]["closed"] == 0.5
    assert shapes["p b m"]["count"] == 2
    assert flat_shapes(shapes)["phones_pucker_ratio"] == pytest.approx(500)
    assert flat_shapes(shapes)["phones_open_vowels_closed"] == 1
    assert shapes["open vowels"]["opening"] == 1


def test_phones_of_a_part_of_a_scene_count_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a_phones.json"
    path.write_text(json.dumps([["m", 0.5, 0.6], ["a", 2.0, 2.1], ["p", 2.9, 3.1]]))
    assert read_phones(path, 1.0, 3.0) == [TimedPhone("a", 1.0, 1.1)]


@pytest.mark.parametrize("kind", NOISES)
def test_noise_is_below_the_voice_and_in_her_channel_only(kind: str) -> None:
    samples, _ = voice()
    both = np.stack([samples, samples], 1).astype(np.float32)
    others = [np.random.default_rng(2).standard_normal(SAMPLE_RATE * 3)]
    noisy = with_noise(both, kind, others=others, seed=1)
    assert np.array_equal(noisy[:, 1], both[:, 1])
    added = active_level(noisy[:, 0] - both[:, 0])
    ratio = 20 * np.log10(active_level(both[:, 0]) / added)
    assert ratio == pytest.approx(SNR, abs=1)
