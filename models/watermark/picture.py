"""Watermark in frames: a sum of waves in brightness, as steps of one of 255, in each frame.

Letters: H, W pixels of a frame, N frames, K lines of the spectrum. The pattern repeats in tiles
whose side is the geometric mean of H and W, so that it scales with a frame. Frequencies are in
cycles per tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from models.watermark.code import KeyedLines, chance, score

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Frames = NDArray[np.uint8]
    Plane = NDArray[np.float32]
    Complex = NDArray[np.complex64]

LOWEST, HIGHEST = 9, 24  # cycles per tile: others are lost in blurs and codecs
SLIGHT = 1 / 3  # values of the pattern below this share of its deviation change no pixel
GRID = 64  # positions along a side of a tile, in the search
READ_SIDE = 192  # pictures are reduced before reading, to at least this tile
BLUR = 20  # a picture's own shades, wider than a tile by this number, are removed
LIMIT = 3.0  # of 255: larger differences, such as edges, are the picture's own and count less
STEP = 0.008  # between the tiles of a search, as a share
TRIALS = 4 * GRID**2  # independent scores of a search at one tile, at most
REFINEMENTS = (0.5, 0.25, 0.125)
# Tiles in the frame of a file, as a share of the frame's own tile.
WHOLE = (1.0,)
CUT = tuple(float(np.exp(each)) for each in np.arange(-0.016, 0.18, STEP))
ANY = tuple(float(np.exp(each)) for each in np.arange(-0.9, 0.7, STEP))


@dataclass(frozen=True)
class Reading:
    """Watermark measured in a picture."""

    score: float  # in standard deviations of pictures without it
    chance: float  # that a picture without it scores as high
    tile: float  # as a share of the frame's own tile: 1 for a frame that was only scaled
    lines: Complex  # [K], aligned


@lru_cache(8)
def picture_lines(key: bytes) -> KeyedLines:
    """Return the lines of pictures under a key."""
    return KeyedLines(key, "picture", len(_frequencies()), sync_share=0.6)


class FrameMarker:
    """Marker of frames, of one size at a time."""

    def __init__(self, key: bytes, mark_id: int) -> None:
        self._lines = picture_lines(key).spectrum(mark_id)
        self._steps: tuple[Frames, Frames] | None = None

    def mark(self, frames: Frames) -> Frames:
        """Return frames [N, H, W, 3 or 4] with the mark; transparent pixels do not change."""
        up, down = self._of_size(*frames.shape[1:])
        marked = np.minimum(frames, 255 - up)
        marked += up
        np.maximum(marked, down, out=marked)
        marked -= down
        if frames.shape[-1] == 4:
            np.copyto(marked, frames, where=frames[..., 3:] == 0)
        return marked

    def _of_size(self, height: int, width: int, channels: int) -> tuple[Frames, Frames]:
        """Return what is added, and what is subtracted, each [H, W, channels]."""
        if self._steps is None or self._steps[0].shape != (height, width, channels):
            values = pattern(self._lines, height, width)
            steps = (np.sign(values) * (np.abs(values) > SLIGHT)).astype(np.int16)
            coloured = np.zeros((height, width, channels), np.int16)
            coloured[..., :3] = steps[..., None]
            self._steps = (
                np.maximum(coloured, 0).astype(np.uint8),
                np.maximum(-coloured, 0).astype(np.uint8),
            )
        return self._steps


def pattern(lines: Complex, height: int, width: int) -> Plane:
    """Return the sum of the waves [H, W], with a standard deviation of 1."""
    y, x = _frequencies().T
    spectrum = np.zeros((2 * HIGHEST + 1, HIGHEST + 1), np.complex64)
    spectrum[y + HIGHEST, x] = lines
    vertical, horizontal = _waves(height, width, _tile(height, width))
    values = (vertical.T @ (spectrum @ horizontal)).real
    return (values / values.std()).astype(np.float32)


def flattened(planes: Sequence[NDArray[np.uint8]]) -> Plane:
    """Return the mean of brightness planes [H, W] without its shades and large differences."""
    mean = np.asarray(np.mean(planes, axis=0, dtype=np.float32))
    rows, columns = planes[0].shape
    step = max(1, int(_tile(rows, columns) / READ_SIDE))
    height, width = rows // step, columns // step
    small = mean[: height * step, : width * step]
    small = small.reshape(height, step, width, step).mean((1, 3))
    detail = small - _blurred(small, max(1, round(_tile(height, width) / BLUR)))
    return detail / (1 + (detail / LIMIT) ** 2) ** 2


def find(flat: Plane, keyed: KeyedLines, tiles: Iterable[float] = WHOLE) -> Reading:
    """Search the watermark at these tiles, as shares of the frame's own, and at all positions."""
    own, tiles = _tile(*flat.shape), tuple(tiles)
    peaks = {each: _peak(_measured(flat, own * each), keyed) for each in tiles}
    tile = max(peaks, key=lambda each: peaks[each][0])
    place = peaks[tile][1:]
    for step in REFINEMENTS:
        lines = _measured(flat, own * tile)
        near = [(place[0] + y, place[1] + x) for y in (-step, 0, step) for x in (-step, 0, step)]
        place = max(near, key=lambda each: score(_moved(lines, *each), keyed.sync))
        sizes = [tile * (1 + STEP * each) for each in (-step, 0, step)]
        tile = max(
            sizes,
            key=lambda each: score(_moved(_measured(flat, own * each), *place), keyed.sync),
        )
    lines = _moved(_measured(flat, own * tile), *place)
    found = score(lines, keyed.sync)
    return Reading(found, chance(found, TRIALS * len(tiles)), tile, lines)


def peak_scores(flat: Plane, keys: Iterable[KeyedLines], tile: float = 1.0) -> list[float]:
    """Return the best score of all positions at one tile under each key, without refinement."""
    lines = _measured(flat, _tile(*flat.shape) * tile)
    return [_peak(lines, keyed)[0] for keyed in keys]


def _tile(height: int, width: int) -> float:
    return float(np.sqrt(height * width))


@lru_cache(1)
def _frequencies() -> NDArray[np.int64]:
    """Frequencies of the lines, vertical and horizontal, [K, 2]; the opposite ones follow."""
    side = np.arange(-HIGHEST, HIGHEST + 1)
    y, x = np.meshgrid(side, side[HIGHEST:], indexing="ij")
    radius = np.hypot(y, x)
    chosen = (radius >= LOWEST) & (radius <= HIGHEST) & ((x > 0) | (y > 0))
    lines = np.stack([y[chosen], x[chosen]], 1)
    order = np.argsort(np.arange(len(lines)) * 0.618034 % 1.0)  # low and high ones mixed
    return np.asarray(lines[order])


def _waves(height: int, width: int, tile: float) -> tuple[Complex, Complex]:
    """Return waves of frequencies -HIGHEST to HIGHEST along a column, and from 0 along a row."""

    def along(count: int) -> Complex:
        wave = np.exp(2j * np.pi / tile * np.arange(count))
        powers = np.full((HIGHEST + 1, count), wave)  # quicker than the exponential of each
        powers[0] = 1
        return powers.cumprod(0).astype(np.complex64)

    vertical = along(height)
    return np.concatenate([vertical[:0:-1].conj(), vertical]), along(width)


def _measured(flat: Plane, tile: float) -> Complex:
    """Return the lines of a tile of this size, with strong ones limited, [K]."""
    height, width = flat.shape
    vertical, horizontal = _waves(height, width, tile)
    spectrum = vertical.conj() @ (flat @ horizontal.conj().T)
    y, x = _frequencies().T
    lines = spectrum[y + HIGHEST, x]
    size = np.abs(lines)
    return np.asarray(lines / (size + np.median(size) + 1e-9))


def _peak(lines: Complex, keyed: KeyedLines) -> tuple[float, float, float]:
    """Return the best score of all positions in a tile, and the position."""
    y, x = _frequencies().T
    grid = np.zeros((GRID, GRID), np.complex64)
    grid[y % GRID, x] = lines * keyed.sync.conj()
    sums = np.fft.ifft2(grid).real * GRID**2
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    spread = float(np.sqrt((np.abs(lines[keyed.is_sync]) ** 2).sum() / 2))
    best = float(sums[row, column]) / spread if spread else 0.0
    return best, float(row), float(column)


def _moved(lines: Complex, down: float, right: float) -> Complex:
    """Return lines as measured from another position of the grid."""
    y, x = _frequencies().T
    return np.asarray(lines * np.exp(2j * np.pi * (y * down + x * right) / GRID), np.complex64)


def _blurred(plane: Plane, radius: int) -> Plane:
    """Return means of squares of 2 radius + 1."""
    for _ in range(2):
        padded = np.pad(plane, ((radius + 1, radius), (0, 0)), mode="edge")
        sums = padded.cumsum(0, dtype=np.float64)
        width = 2 * radius + 1
        plane = ((sums[width:] - sums[:-width]) / width).astype(np.float32).T
    return plane
