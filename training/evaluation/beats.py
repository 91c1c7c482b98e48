"""Beat alignment of body and voice.

The beat alignment of AI Choreographer (arXiv 2101.08779), with onsets of speech instead of beats of
music. Times are in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.audio import FRAME_RATE, SAMPLE_RATE
from training.data.voice_activity import QUIETEST
from training.evaluation.metrics import speed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

TOLERANCE = 0.05  # s, width of the kernel: 3 frames at 60 per second, as in the paper
SMOOTH = 2.0  # frames, width of the Gaussian over the speed, because sampled motion is rough
HOP, WINDOW = 480, 2048  # samples: a spectrum of 43 ms every 10 ms
HIGHEST = 8000  # Hz; speech has little energy above
LAG = 3  # spectra: each is compared with the one 30 ms before
NEAR, AROUND = 5, 15  # spectra: an onset is the maximum of those near, and above those around
PROMINENT = 0.1  # height above the mean around, as a fraction of the clip's 99 % quantile
COMPRESSION = 100.0  # factor of the spectrum before the logarithm, relative to the loud parts


def body_speed(angles: Array) -> Array:
    """Mean absolute speed of joint angles [..., T, J], rad/s: [..., T - 1]."""
    return speed(angles, FRAME_RATE)


def kinematic_beats(angles: Array) -> Array:
    """Times at which the body rests: minima of its smoothed speed, for joint angles [T, J]."""
    moving = smoothed(body_speed(angles))
    middle = moving[1:-1]
    lowest = (middle < moving[:-2]) & (middle <= moving[2:])
    # Entry i of the speed is between frames i and i + 1; a frame is the middle of its audio.
    return (np.flatnonzero(lowest) + 2) / FRAME_RATE


def smoothed(values: Array) -> Array:
    """Smooth with a Gaussian; the ends are extended by their values."""
    reach = int(4 * SMOOTH)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTH) ** 2)
    return np.convolve(np.pad(values, reach, "edge"), kernel / kernel.sum(), "valid")


def onsets(audio: Array) -> Array:
    """Times of syllable onsets in a channel [n] at 48 kHz: peaks of the spectral flux.

    Flux: the mean rise of the compressed spectrum over 30 ms (Bello et al. 2005, "A tutorial on
    onset detection in music signals"). Silence has no onsets.
    """
    strength = onset_strength(audio)
    if not len(strength):
        return np.zeros(0)
    highest = strength >= _neighbours(strength, NEAR).max(1)
    least = PROMINENT * np.quantile(strength, 0.99)
    above = strength > _neighbours(strength, AROUND).mean(1) + least
    return (np.flatnonzero(highest & above) - LAG / 2) * HOP / SAMPLE_RATE


def onset_strength(audio: Array) -> Array:
    """Spectral flux of a channel [n], one value every 10 ms; empty for silence."""
    if len(audio) < WINDOW or np.abs(audio).max() < QUIETEST:
        return np.zeros(0)
    padded = np.pad(audio.astype(np.float64), WINDOW // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    bins = HIGHEST * WINDOW // SAMPLE_RATE
    spectrum = np.abs(np.fft.rfft(pieces * np.hanning(WINDOW), axis=1)[:, :bins])
    loud = np.quantile(spectrum.max(1), 0.95)
    compressed = np.log1p(COMPRESSION * spectrum / max(loud, 1e-12))
    before = np.pad(compressed, ((LAG, 0), (0, 0)))[:-LAG]
    return (compressed - before).clip(min=0).mean(1)


def alignment(beats: Array, marks: Array) -> Array:
    """Closeness of each beat [B] to the nearest mark [M]: exp(-d^2 / (2 tolerance^2)), [B].

    Its mean is the beat alignment: 1 if every beat is on a mark, near 0 if none is.
    """
    if not len(marks):
        return np.zeros(len(beats))
    gap = np.abs(beats[:, None] - marks[None]).min(1)
    return np.exp(-0.5 * (gap / TOLERANCE) ** 2)


def frame_times(frames: int) -> Array:
    """Times of the middle of each frame."""
    return (np.arange(frames) + 0.5) / FRAME_RATE


def _neighbours(values: Array, reach: int) -> Array:
    """[M] -> each value with `reach` before and after it, [M, 2 reach + 1]."""
    padded = np.pad(values, reach, "edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
