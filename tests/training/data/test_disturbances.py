"""Disturbances: kinds, the same for the same seed."""

import numpy as np
import pytest

from models.motion.speech import SPEECH_RATE as RATE
from training.data.disturbances import coloured_noise, hum, in_room, make_disturbance, music


def tone(seconds: float = 2.0, pitch: float = 300.0) -> np.ndarray:
    wave = np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)
    wave[len(wave) // 2 :] = 0  # half of it is silence
    return wave.astype(np.float32)


def test_the_same_seed_gives_the_same_disturbance_and_another_seed_another() -> None:
    one, same, other = (make_disturbance(RATE, np.random.default_rng(n)) for n in (5, 5, 6))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("make", [coloured_noise, hum, music])
def test_every_kind_sounds_all_the_time(make: object) -> None:
    assert callable(make)
    sound = make(2 * RATE, np.random.default_rng(3))
    assert len(sound) == 2 * RATE
    assert np.isfinite(sound).all()
    parts = np.abs(sound).reshape(4, -1).max(1)
    assert parts.min() > 0.02 * parts.max()


def test_a_room_rings_after_a_sound_and_keeps_its_start() -> None:
    wet = in_room(tone(), np.random.default_rng(2))
    after = slice(RATE + 100, RATE + 1600)
    assert np.abs(wet[after]).max() > 1e-3
    np.testing.assert_allclose(wet[:10], tone()[:10], atol=1e-3)
