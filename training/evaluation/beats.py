"""Beats of the body and of the voice, and how well they meet.

The beat alignment of AI Choreographer (arXiv 2101.08779), with onsets of speech in the place
of beats of music. Times are in seconds.
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

TOLERANCE = 0.05  # s, the width of the kernel: 3 frames of 60 a second, as there
SMOOTH = 2.0  # frames, the width of the Gaussian over the speed: sampled motion is rough
HOP, WINDOW = 480, 2048  # samples: a spectrum every 10 ms, of 43 ms
HIGHEST = 8000  # Hz, above it speech has little
LAG = 3  # spectra: what a spectrum is compared with is 30 ms before
NEAR, AROUND = 5, 15  # spectra: an onset is the highest of those near, and above those around
PROMINENT = 0.1  # above the mean around it, of the strongest rises of the clip (99 % quantile)
COMPRESSION = 100.0  # of the spectrum, in units of the loud parts of the clip


def body_speed(angles: Array) -> Array:
    """Mean absolute speed of joint angles [..., T, J], rad/s: [..., T - 1]."""
    return speed(angles, FRAME_RATE)


def kinematic_beats(angles: Array) -> Array:
    """When the body comes to rest: the minima of its smoothed speed, for joint angles [T, J]."""
    moving = smoothed(body_speed(angles))
    middle = moving[1:-1]
    lowest = (middle < moving[:-2]) & (middle <= moving[2:])
    # Entry i of the speed lies between frames i and i + 1, and a frame is the middle of its sound.
    return (np.flatnonzero(lowest) + 2) / FRAME_RATE


def smoothed(values: Array) -> Array:
    """Under a Gaussian; the ends go on as they are."""
    reach = int(4 * SMOOTH)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTH) ** 2)
    return np.convolve(np.pad(values, reach, "edge"), kernel / kernel.sum(), "valid")


def onsets(sound: Array) -> Array:
    """When syllables begin in a channel [n] at 48 kHz: peaks of the spectral flux. None in silence.

    Flux: the mean rise of the compressed spectrum over 30 ms (Bello et al. 2005, "A tutorial on
    onset detection in music signals").
    """
    strength = onset_strength(sound)
    if not len(strength):
        return np.zeros(0)
    highest = strength >= _widest(strength, NEAR).max(1)
    least = PROMINENT * np.quantile(strength, 0.99)
    above = strength > _widest(strength, AROUND).mean(1) + least
    return (np.flatnonzero(highest & above) - LAG / 2) * HOP / SAMPLE_RATE


def onset_strength(sound: Array) -> Array:
    """Spectral flux of a channel [n], one every 10 ms; nothing for silence."""
    if len(sound) < WINDOW or np.abs(sound).max() < QUIETEST:
        return np.zeros(0)
    padded = np.pad(sound.astype(np.float64), WINDOW // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    bins = HIGHEST * WINDOW // SAMPLE_RATE
    spectrum = np.abs(np.fft.rfft(pieces * np.hanning(WINDOW), axis=1)[:, :bins])
    loud = np.quantile(spectrum.max(1), 0.95)
    compressed = np.log1p(COMPRESSION * spectrum / max(loud, 1e-12))
    before = np.pad(compressed, ((LAG, 0), (0, 0)))[:-LAG]
    return (compressed - before).clip(min=0).mean(1)


def alignment(beats: Array, marks: Array) -> Array:
    """How near each beat [B] is to one of the marks [M]: exp(-d^2 / (2 tolerance^2)), [B].

    Its mean is the beat alignment: 1 where every beat meets a mark, near 0 where none does.
    """
    if not len(marks):
        return np.zeros(len(beats))
    gap = np.abs(beats[:, None] - marks[None]).min(1)
    return np.exp(-0.5 * (gap / TOLERANCE) ** 2)


def frame_times(frames: int) -> Array:
    """The middle of each frame."""
    return (np.arange(frames) + 0.5) / FRAME_RATE


def _widest(values: Array, reach: int) -> Array:
    """[M] -> each with `reach` before and after it, [M, 2 reach + 1]."""
    padded = np.pad(values, reach, "edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
