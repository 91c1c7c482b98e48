"""Disturbances of recordings for training: noise, hum, music, rooms.

All are made here: nothing is recorded, and no licence applies. Arrays are mono at `RATE`; babble
is made of voices in `training.data.mixing`.
Letters: n samples.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from models.motion.speech import SPEECH_RATE as RATE

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Sound = NDArray[np.floating[Any]]  # [n]

KINDS = ("noise", "hum", "music")
SHARES = (0.5, 0.1, 0.4)
ACTIVE = 0.2  # share of the loudest moments whose level counts as that of the speech
MOMENT = RATE // 50
SONGS, SONG_SECONDS = 20, 16  # music is made once: it costs more than all else


def active_level(sound: Sound) -> float:
    """Root mean square of the loudest moments."""
    moments = sound[: len(sound) // MOMENT * MOMENT].reshape(-1, MOMENT).astype(np.float64)
    power = np.sort((moments**2).mean(1))
    return float(np.sqrt(power[-max(1, round(ACTIVE * len(power))) :].mean()))


def make_disturbance(samples: int, rng: Generator) -> Sound:
    """Make a disturbance of a random kind, at any level."""
    kind = str(rng.choice(KINDS, p=SHARES))
    if kind == "music":
        song = _song(int(rng.integers(SONGS)))
        part = np.resize(np.roll(song, int(rng.integers(len(song)))), samples)
        return _coloured(part, 0.0, 3.0, rng)
    return hum(samples, rng) if kind == "hum" else coloured_noise(samples, rng)


def coloured_noise(samples: int, rng: Generator) -> Sound:
    """Noise with a random slope and response, sometimes with slow changes of its level."""
    slope = rng.choice([0.0, -3.0, rng.uniform(-9, 4)])  # dB an octave: white, pink, any
    sound = _coloured(rng.standard_normal(samples), slope, rng.uniform(0, 4), rng)
    if rng.random() < 0.4:
        sound *= _slow_level(samples, rng.uniform(0.2, 6.0), rng.uniform(2, 10), rng)
    return sound


def _coloured(sound: Sound, slope: float, roughness: float, rng: Generator) -> Sound:
    """Apply a slope in dB an octave and a random response of `roughness` dB."""
    frequencies = np.fft.rfftfreq(len(sound), 1 / RATE)
    octave = np.log2(frequencies + 30)
    knots = np.arange(4, 14)
    curve = np.interp(octave, knots, rng.normal(0, roughness, len(knots))) + slope * octave
    return np.fft.irfft(np.fft.rfft(sound) * 10 ** ((curve - curve.max()) / 20), len(sound))


def _slow_level(samples: int, rate: float, decibels: float, rng: Generator) -> Sound:
    """Random gain that changes about `rate` times a second."""
    count = max(2, int(rate * samples / RATE) + 2)
    knots = rng.normal(0, decibels, count)
    return 10 ** (np.interp(np.linspace(0, count - 1, samples), np.arange(count), knots) / 20)


def hum(samples: int, rng: Generator) -> Sound:
    """Mains hum or a motor: harmonics of a low tone in weak noise."""
    time = np.arange(samples) / RATE
    tone = rng.choice([50.0, 60.0, rng.uniform(30, 300)])
    sound = 0.05 * rng.standard_normal(samples)
    for harmonic in range(1, 12):
        sound += (
            np.sin(2 * np.pi * (tone * harmonic * time + rng.random())) * rng.random() / harmonic
        )
    return sound


@cache
def _song(number: int) -> Sound:
    return music(SONG_SECONDS * RATE, np.random.default_rng([7, number]))


def music(samples: int, rng: Generator) -> Sound:
    """Chords, a bass, a melody and drums by chance, of decaying harmonic tones."""
    sound = np.zeros(samples)
    beat = 60 / rng.uniform(60, 150)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    root = rng.uniform(110, 220)
    brightness, decay = rng.uniform(0.8, 2.2), np.exp(rng.uniform(np.log(0.15), np.log(2.5)))
    step = beat * float(rng.choice([0.5, 1.0, 2.0]))
    chords, melody = rng.random() < 0.8, rng.random() < 0.7
    melody = melody or not chords  # something sounds
    place = int(rng.integers(7))
    for bar, start in enumerate(np.arange(0, samples / RATE, step)):
        notes = []
        if chords and bar % 2 == 0:
            degree = int(rng.integers(7))
            notes += [(degree + third, 1.0, 2 * step) for third in (0, 2, 4)]
            notes += [(degree - 7, 1.5, 2 * step)]
        if melody and rng.random() < 0.8:
            place = int(np.clip(place + rng.integers(-2, 3), 0, 13))
            notes += [(place + 7, 1.2, step)]
        for degree, loud, seconds in notes:
            tone = root * 2 ** ((scale[degree % 7] + 12 * (degree // 7)) / 12)
            _add_tone(sound, start, tone, loud, seconds + decay, brightness, decay, rng)
    if rng.random() < 0.6:
        _add_drums(sound, beat, rng)
    return _coloured(sound, 0.0, 3.0, rng)


def _add_tone(
    sound: Sound, start: float, tone: float, loud: float, seconds: float, brightness: float,
    decay: float, rng: Generator,
) -> None:  # fmt: skip
    first = int(start * RATE)
    time = np.arange(min(len(sound) - first, int(seconds * RATE))) / RATE
    if not len(time):
        return
    wobble = 0.003 * np.sin(2 * np.pi * 5 * time) * rng.integers(0, 2)
    phase = 2 * np.pi * tone * (time + wobble / 5)
    harmonics = range(1, max(2, min(12, int(7000 / tone))))
    wave = sum(np.sin(k * phase + rng.random()) / k**brightness for k in harmonics)
    sound[first : first + len(time)] += (
        loud * wave * np.exp(-time / decay) * np.minimum(1, time / 0.01)
    )


def _add_drums(sound: Sound, beat: float, rng: Generator) -> None:
    length = int(0.15 * RATE)
    fade = np.exp(-np.arange(length) / (0.04 * RATE))
    for number, start in enumerate(np.arange(0, len(sound) / RATE, beat / 2)):
        if rng.random() < 0.25:
            continue
        hit = rng.standard_normal(length) * fade
        if number % 4 == 0:
            hit = 2 * np.sin(2 * np.pi * 70 * np.arange(length) / RATE) * fade
        first = int(start * RATE)
        part = sound[first : first + length]
        part += 0.7 * hit[: len(part)]


def in_room(sound: Sound, rng: Generator) -> Sound:
    """Reverberate sound, by a decaying noise of 0.1 to 0.9 s after the direct sound."""
    seconds = rng.uniform(0.1, 0.9)
    time = np.arange(int(seconds * RATE)) / RATE
    echo = rng.standard_normal(len(time)) * np.exp(-6.9 * time / seconds)
    echo[: int(rng.uniform(0.001, 0.01) * RATE)] = 0
    echo *= rng.uniform(0.15, 0.7) / max(1e-9, float(np.sqrt((echo**2).sum())))
    echo[0] = 1.0
    size = 1 << (len(sound) + len(echo) - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(echo, size), size)
    return wet[: len(sound)].astype(sound.dtype)
