"""Measures of lips: shapes by phone, noise, and the delay between mouth and voice.

Letters: T frames (30/s), U face units, n samples at 48 kHz.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import butter, sosfiltfilt

from models.motion.speech import SPEECH_RATE
from training.data.audio import FRAME_RATE, SAMPLE_RATE
from training.data.disturbances import active_level, music
from training.evaluation.metrics import correlation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.data.phones import TimedPhone

    Array = NDArray[np.floating[Any]]

CLASSES: Mapping[str, str] = {
    "p b m": "pbm",
    "f v": "fv",
    "open vowels": "aɑʌæ",
    "u w o": "uʊwoɔ",
    "sh zh": "ʃʒ",
    "i": "iɪ",
}
CLOSED_MILLIMETRES = 1.5
AROUND = 0.06  # seconds around a phone in which lips may close
MOST_LAG = 0.3  # seconds
ENVELOPE_RATE = 100  # Hz
VOICE_BAND = (300.0, 3000.0)  # Hz
NOISES = ("white", "pink", "babble", "music")
SNR = 10.0  # dB


def shapes_by_phone(
    phones: Sequence[TimedPhone], opening: Array, units: Mapping[str, Array]
) -> dict[str, dict[str, float]]:
    """Mean shapes of classes of phones: opening in mm [T], units by name [T].

    Each class has `count`, `opening`, the units, `closed`: the share of phones near which lips
    come closer than `CLOSED_MILLIMETRES`, and `closed_middle`: the share in whose middle they are.
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CLASSES}
    for phone in phones:
        name = next((name for name, symbols in CLASSES.items() if phone.symbol in symbols), None)
        middle = int((phone.start + phone.end) / 2 * FRAME_RATE)
        first = max(0, int(np.floor((phone.start - AROUND) * FRAME_RATE)))
        last = min(len(opening), int(np.ceil((phone.end + AROUND) * FRAME_RATE)))
        if name is None or not first < middle < last:
            continue
        rows[name].append(
            {
                "opening": float(opening[middle]),
                "closed": float(opening[first:last].min() < CLOSED_MILLIMETRES),
                "closed_middle": float(opening[middle] < CLOSED_MILLIMETRES),
                **{unit: float(values[middle]) for unit, values in units.items()},
            }
        )
    return {
        name: {
            "count": len(found),
            **{key: float(np.mean([row[key] for row in found])) for key in found[0]},
        }
        for name, found in rows.items()
        if found
    }


def flat_shapes(shapes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The goals among shapes by phone: lips closed on p b m and not on vowels, rounding."""
    result: dict[str, float] = {}
    if "p b m" in shapes:
        result["phones_pbm"] = shapes["p b m"]["count"]
        result["phones_pbm_closed"] = shapes["p b m"]["closed"]
    if "open vowels" in shapes:
        result["phones_open_vowels_closed"] = shapes["open vowels"]["closed_middle"]
    if {"u w o", "open vowels"} <= shapes.keys():
        rounded, wide = (shapes[name]["mouthPucker"] for name in ("u w o", "open vowels"))
        result["phones_pucker_rounded"] = rounded
        result["phones_pucker_open"] = wide
        result["phones_pucker_ratio"] = rounded / max(1e-3, wide)
    for name in ("open vowels", "i", "f v"):
        if name in shapes:
            result[f"phones_opening_mm_{name.replace(' ', '_')}"] = shapes[name]["opening"]
    return result


def envelope(samples: Array) -> Array:
    """Root mean square of the voice band at `ENVELOPE_RATE`: samples [n] -> [n / 480]."""
    band = butter(4, VOICE_BAND, "bandpass", fs=SAMPLE_RATE, output="sos")
    voice = sosfiltfilt(band, samples)
    step = SAMPLE_RATE // ENVELOPE_RATE
    power = voice[: len(voice) // step * step].reshape(-1, step) ** 2
    return np.sqrt(power.mean(1))


def envelope_fit(opening: Array, samples: Array) -> tuple[float, float]:
    """Correlation of the mouth's opening [T] with the loudness of a voice [n], and its lag.

    The lag in ms at which the correlation is highest; positive when the mouth is late.
    """
    level = envelope(samples)
    times = np.arange(len(level)) / ENVELOPE_RATE
    mouth = np.interp(times, (np.arange(len(opening)) + 0.5) / FRAME_RATE, opening)
    kernel = np.hanning(13)  # loudness as slow as a mouth
    level = np.convolve(np.sqrt(level), kernel / kernel.sum(), "same")
    most = round(MOST_LAG * ENVELOPE_RATE)
    scores = {
        lag: correlation(
            mouth[max(0, lag) : len(mouth) + min(0, lag)],
            level[max(0, -lag) : len(level) + min(0, -lag)],
        )
        for lag in range(-most, most + 1)
    }
    best = max(scores, key=lambda lag: scores[lag])
    return scores[0], 1000.0 * best / ENVELOPE_RATE


def with_noise(samples: Array, kind: str, *, others: Sequence[Array], seed: int) -> Array:
    """Add noise of a kind to the person's channel of [n, 2], `SNR` below her voice.

    others: voices [n] at 48 kHz, for babble.
    """
    rng = np.random.default_rng([seed, NOISES.index(kind)])
    count = len(samples)
    voice = samples[:, 0].astype(np.float64)
    if kind == "white":
        noise = rng.standard_normal(count)
    elif kind == "pink":
        spectrum = np.fft.rfft(rng.standard_normal(count))
        noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), count)
    elif kind == "babble":
        noise = np.zeros(count)
        for other in others:
            part = np.resize(np.roll(other, int(rng.integers(len(other)))), count)
            noise += part / max(1e-9, float(np.sqrt((part**2).mean())))
    else:
        slow = music(-(-count * SPEECH_RATE // SAMPLE_RATE), rng)
        noise = np.interp(np.arange(count) * SPEECH_RATE / SAMPLE_RATE, np.arange(len(slow)), slow)
    gain = active_level(voice) / active_level(noise) * 10 ** (-SNR / 20)
    noisy = samples.copy()
    noisy[:, 0] = np.clip(voice + gain * noise, -1, 1)
    return noisy
