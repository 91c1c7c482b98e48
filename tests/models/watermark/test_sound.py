"""Watermark in sound: found in pieces, below the sound itself, absent in silence."""

import numpy as np
import pytest

from models.watermark.sound import READ_RATE, SoundMarker, find_sound, sound_lines

KEY, ID, RATE = b"a key of the operator", 0x0123456789ABCDEF, 48_000


def voice(seconds: float = 4.0) -> np.ndarray:
    """Noise that swells like syllables, stereo at 48 kHz."""
    count = int(seconds * RATE)
    random = np.random.default_rng(2)
    swell = 0.02 + 0.1 * np.abs(np.sin(np.arange(count) * np.pi * 3 / RATE))
    return (random.normal(0, 1, (count, 1)) * swell[:, None]).repeat(2, 1).astype(np.float32)


def as_read(sound: np.ndarray) -> np.ndarray:
    """The mean of the channels at the rate of the detector."""
    spectrum = np.fft.rfft(sound.mean(1))
    count = len(sound) * READ_RATE // RATE
    return (np.fft.irfft(spectrum[: count // 2 + 1], count) / 3).astype(np.float32)


@pytest.fixture(scope="module")
def marked() -> np.ndarray:
    return SoundMarker(KEY, ID).marked(voice())


def test_the_id_is_read_from_two_seconds_that_begin_anywhere(marked: np.ndarray) -> None:
    keyed = sound_lines(KEY)
    reading = find_sound(as_read(marked)[12_345 : 12_345 + 2 * READ_RATE], keyed)

    assert reading.chance < 1e-9
    assert keyed.read(reading.lines) == ID


def test_the_mark_is_well_below_the_sound(marked: np.ndarray) -> None:
    noise = marked - voice()

    assert 10 * np.log10((voice() ** 2).sum() / (noise**2).sum()) > 14


def test_silence_stays_silent() -> None:
    silence = np.zeros((RATE, 2), np.float32)

    assert not SoundMarker(KEY, ID).marked(silence).any()


def test_unmarked_sound_and_another_key_are_not_found(marked: np.ndarray) -> None:
    assert find_sound(as_read(voice()), sound_lines(KEY)).chance > 1e-4
    assert find_sound(as_read(marked), sound_lines(b"another key")).chance > 1e-4


def test_parts_of_a_second_are_marked_to_the_end() -> None:
    sound = voice(1.3)
    marked = SoundMarker(KEY, ID).marked(sound)

    assert marked.shape == sound.shape
    assert (marked[-RATE // 5 :] != sound[-RATE // 5 :]).any()
