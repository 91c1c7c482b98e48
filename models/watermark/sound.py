"""Watermark in sound: a keyed noise of one second, repeated, below the level of the sound itself.

In each band and moment the noise follows the level of the sound, so that the sound masks it.
Silence stays silent, and has no mark. Letters: S samples, J frames, B bands of 50 Hz, K lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from models.watermark.code import KeyedLines, chance, score

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    Complex = NDArray[np.complex64]

LOWEST, HIGHEST = 1000, 6000  # Hz, also the number of a line
MARKED_RATE, READ_RATE = 48_000, 16_000  # samples a second
HOPS = 100  # frames a second, of two hops each
BANDS = slice(2 * LOWEST // HOPS, 2 * HIGHEST // HOPS)
STRENGTH = 0.25  # of the sound in its band: -12 dB
FINE = 4  # positions between two samples, in the search
QUIET = 0.005  # frames below this share of the loudest count less
PEAKS = 0.15  # power of a band's level by which it counts: a codec removes weak bands


@dataclass(frozen=True)
class SoundReading:
    """Watermark measured in some sound."""

    score: float  # in standard deviations of sound without it
    chance: float  # that sound without it scores as high
    lines: Complex  # [K], aligned


@lru_cache(8)
def sound_lines(key: bytes) -> KeyedLines:
    """Return the lines of sound under a key."""
    return KeyedLines(key, "sound", HIGHEST - LOWEST, sync_share=0.5)


class SoundMarker:
    """Noise for sound at 48 kHz, a second at a time."""

    def __init__(self, key: bytes, mark_id: int) -> None:
        spectrum = np.zeros(MARKED_RATE // 2 + 1, np.complex64)
        spectrum[LOWEST:HIGHEST] = sound_lines(key).spectrum(mark_id)
        second = np.fft.irfft(spectrum)
        hop = MARKED_RATE // HOPS
        around = np.concatenate([second[-hop:], second, second[:hop]])
        noise = np.fft.rfft(_frames(around, hop))[:, BANDS]
        self._noise = (noise / np.sqrt((np.abs(noise) ** 2).mean())).astype(np.complex64)

    def noise(self, sound: Samples) -> Samples:
        """Return what is to be added to a second that begins at a whole second.

        sound: [hop + 48000 + hop], a hundredth of a second more at both ends; returns [48000].
        """
        hop = MARKED_RATE // HOPS
        bands = np.fft.rfft(_frames(sound, hop))
        shaped = np.zeros_like(bands)
        shaped[:, BANDS] = STRENGTH * _levels(bands[:, BANDS]) * self._noise
        return _joined(shaped, hop)[hop:-hop].astype(np.float32)

    def marked(self, sound: Samples) -> Samples:
        """Return sound [S, channels] at 48 kHz with the mark in each channel, within -1..1."""
        starts = range(0, len(sound), MARKED_RATE)
        parts = [*self.seconds(sound[start : start + MARKED_RATE] for start in starts)]
        return np.concatenate(parts) if parts else sound

    def seconds(self, parts: Iterable[Samples]) -> Iterator[Samples]:
        """Yield the same for parts of a second each; the last one may be shorter."""
        hop = MARKED_RATE // HOPS
        before = np.zeros(hop, np.float32)
        for part, after in pairwise(chain(parts, [np.zeros((0, 1), np.float32)])):
            mixed = _mixed(part)
            both = np.concatenate([before, mixed, _mixed(after[:hop])])
            both = np.pad(both, (0, MARKED_RATE + 2 * hop - len(both)))
            before = mixed[-hop:]
            yield (part + self.noise(both)[: len(part), None]).clip(-1, 1)


def find_sound(sound: Samples, keyed: KeyedLines) -> SoundReading:
    """Search the watermark in at least a second of sound [S] at 16 kHz."""
    hop = READ_RATE // HOPS
    sound = sound[: len(sound) // hop * hop]
    bands = np.fft.rfft(_frames(np.pad(sound, hop), hop))
    levels = _levels(bands[:, BANDS])
    loud = np.sqrt((levels**2).mean(1, keepdims=True))
    share = np.minimum(1.0, loud / (QUIET * loud.max() + 1e-12))
    flat = np.zeros_like(bands)
    share = share * (levels / (levels.max(1, keepdims=True) + 1e-12)) ** PEAKS
    flat[:, BANDS] = share * bands[:, BANDS] / (levels + 1e-9)
    samples = _joined(flat, hop)[hop:-hop]
    seconds = -(-len(samples) // READ_RATE)
    folded = np.pad(samples, (0, seconds * READ_RATE - len(samples))).reshape(seconds, -1).sum(0)
    lines = np.fft.rfft(folded)[LOWEST:HIGHEST].astype(np.complex64)
    grid = np.zeros(FINE * READ_RATE, np.complex64)
    grid[LOWEST:HIGHEST] = lines * keyed.sync.conj()
    place = int(np.fft.ifft(grid).real.argmax()) / len(grid)
    moved = lines * np.exp(2j * np.pi * np.arange(LOWEST, HIGHEST) * place).astype(np.complex64)
    found = score(moved, keyed.sync)
    return SoundReading(found, chance(found, FINE * READ_RATE), moved)


def _mixed(sound: Samples) -> Samples:
    """Return the mean of the channels of sound [S, channels]; numpy is slow along rows of two."""
    return np.asarray(sum(sound.T), np.float32) / np.float32(sound.shape[1])


@lru_cache(2)
def _window(hop: int) -> NDArray[np.float64]:
    """Return a window whose square adds up to 1 at steps of a hop."""
    return np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop))


def _frames(samples: NDArray[np.floating], hop: int) -> NDArray[np.float64]:
    """Return windowed frames of two hops, [J, 2 hop]."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 2 * hop)[::hop]
    return frames * _window(hop)


def _joined(spectra: NDArray[np.complexfloating], hop: int) -> NDArray[np.float64]:
    """Return the sum of frames, each at its place."""
    frames = np.fft.irfft(spectra) * _window(hop)
    samples = np.zeros((len(frames) + 1, hop))
    samples[:-1] += frames[:, :hop]
    samples[1:] += frames[:, hop:]
    return samples.reshape(-1)


def _levels(bands: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Return the level in each band [J, B], as a mean of three neighbours."""
    power = np.pad(np.abs(bands) ** 2, ((0, 0), (1, 1)), mode="edge")
    return np.sqrt((power[:, :-2] + power[:, 1:-1] + power[:, 2:]) / 3)
