"""Statistics of a dataset, computed in pieces: stats.json, or the released file.

Letters: T frames, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.formats.dataset import DatasetError, find_scenes
from models.formats.wav import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.dataset import SceneData

    Array = NDArray[np.floating[Any]]

SMALLEST_STD = 1e-3  # lower limit, so that normalisation does not amplify constant channels
PIECE = 1800  # frames in memory
AUDIO_PIECE = 10 * SAMPLE_RATE


def measure(folder: Path) -> dict[str, Any]:
    """Means and standard deviations of pose, face codes and audio over all scenes of a folder.

    Face codes of frames without a face are ignored. `_std_flat` is the standard deviation of all
    numbers together.
    Raises: DatasetError: when a scene is incomplete or contains NaN or infinity.
    """
    scenes = [files.open() for files in find_scenes(folder)]
    motion = _motion("pose", lambda: poses(scenes)) | _motion("code", lambda: codes(scenes))
    return motion | _audio(scenes)


def poses(scenes: Sequence[SceneData]) -> Iterator[Array]:
    """Pieces [n, 104] of all poses, with full rotations wrapped."""
    for scene in scenes:
        for start in range(0, scene.frames, PIECE):
            yield scene.poses(start, start + PIECE)


def codes(scenes: Sequence[SceneData]) -> Iterator[Array]:
    """Pieces [n, 256] of the face codes of frames with a face."""
    for scene in scenes:
        present = scene.present()
        for start in range(0, scene.frames, PIECE):
            cut = slice(start, start + PIECE)
            yield scene.codes(start, start + PIECE)[present[cut]]


def audio_pieces(scenes: Sequence[SceneData]) -> Iterator[Array]:
    """Pieces [n, 2] of all audio."""
    for scene in scenes:
        for start in range(0, len(scene.audio), AUDIO_PIECE):
            yield scene.audio.read(start, start + AUDIO_PIECE)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of each channel."""

    mean: NDArray[np.float64]  # [C]
    std: NDArray[np.float64]  # [C]

    @property
    def flat(self) -> float:
        """Standard deviation of all channels about their common mean."""
        return float(np.sqrt((self.std**2 + self.mean**2).mean() - self.mean.mean() ** 2))


def spread(name: str, pieces: Callable[[], Iterable[Array]]) -> Spread:
    """Compute the spread of rows [n, C], read in pieces and twice for numerical stability.

    Raises: DatasetError: when a number is NaN or infinite.
    """
    count = 0
    total: Any = 0.0
    for piece in pieces():
        count += len(piece)
        total = total + piece.sum(0, dtype=np.float64)
    mean = np.asarray(total / max(1, count))
    if not np.isfinite(mean).all():
        raise DatasetError(
            f"{name}: some scene contains NaN or infinity; `python -m training data check` finds "
            "the file and frame"
        )
    squares: Any = 0.0
    for piece in pieces():
        squares = squares + np.square(piece - mean).sum(0)
    return Spread(mean, np.sqrt(squares / max(1, count)))


def _motion(name: str, pieces: Callable[[], Iterable[Array]]) -> dict[str, Any]:
    channels = spread(name, pieces)
    return {
        f"{name}_mean": channels.mean.tolist(),
        f"{name}_std": np.maximum(channels.std, SMALLEST_STD).tolist(),
        f"{name}_std_flat": [channels.flat],
    }


def _audio(scenes: Sequence[SceneData]) -> dict[str, Any]:
    """Statistics of each channel, and the common deviation that normalises audio."""
    channels = spread("audio", lambda: audio_pieces(scenes))
    if channels.flat <= 0:
        raise DatasetError("audio: all scenes are silent, so it cannot be normalised")
    return {
        "audio_mean": channels.mean.tolist(),
        "audio_std": channels.std.tolist(),
        "audio_std_flat": channels.flat,
    }
