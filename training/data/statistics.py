"""Statistics of a dataset, in one piece of memory at a time: stats.json, or the released file.

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

SMALLEST_STD = 1e-3  # a channel that never moves keeps this, so that it is not blown up
PIECE = 1800  # frames that are read at once
SOUND_PIECE = 10 * SAMPLE_RATE


def measure(folder: Path) -> dict[str, Any]:
    """Means and spreads of pose, face codes and sound over all scenes of a folder, as lists.

    A frame without a face does not count for the face codes. `_std_flat` is the spread of all
    numbers together. DatasetError where a scene is not whole or holds what is no number.
    """
    scenes = [files.open() for files in find_scenes(folder)]
    return _of("pose", lambda: poses(scenes)) | _of("code", lambda: codes(scenes)) | _sound(scenes)


def poses(scenes: Sequence[SceneData]) -> Iterator[Array]:
    """Pieces [n, 104] of all poses, counted turns wrapped."""
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


def sounds(scenes: Sequence[SceneData]) -> Iterator[Array]:
    """Pieces [n, 2] of all sound."""
    for scene in scenes:
        for start in range(0, len(scene.audio), SOUND_PIECE):
            yield scene.audio.read(start, start + SOUND_PIECE)


@dataclass(frozen=True)
class Spread:
    """What numbers are like, channel by channel and together."""

    mean: NDArray[np.float64]  # [C]
    std: NDArray[np.float64]  # [C]

    @property
    def flat(self) -> float:
        """The spread of the numbers of all channels about their common mean."""
        return float(np.sqrt((self.std**2 + self.mean**2).mean() - self.mean.mean() ** 2))


def spread(name: str, pieces: Callable[[], Iterable[Array]]) -> Spread:
    """Of rows [n, C] that come in pieces; they are asked for twice, so that nothing cancels.

    DatasetError, with the name, where one is no number.
    """
    count = 0
    total: Any = 0.0
    for piece in pieces():
        count += len(piece)
        total = total + piece.sum(0, dtype=np.float64)
    mean = np.asarray(total / max(1, count))
    if not np.isfinite(mean).all():
        raise DatasetError(
            f"the {name} of some scene holds NaN or infinity; `python -m training data check` "
            "tells where"
        )
    squares: Any = 0.0
    for piece in pieces():
        squares = squares + np.square(piece - mean).sum(0)
    return Spread(mean, np.sqrt(squares / max(1, count)))


def _of(name: str, pieces: Callable[[], Iterable[Array]]) -> dict[str, Any]:
    found = spread(name, pieces)
    return {
        f"{name}_mean": found.mean.tolist(),
        f"{name}_std": np.maximum(found.std, SMALLEST_STD).tolist(),
        f"{name}_std_flat": [found.flat],
    }


def _sound(scenes: Sequence[SceneData]) -> dict[str, Any]:
    """Each channel, and one spread for both, which is what sound is normalised with."""
    found = spread("audio", lambda: sounds(scenes))
    if found.flat <= 0:
        raise DatasetError("the sound of all scenes is silent; it cannot be normalised")
    return {
        "audio_mean": found.mean.tolist(),
        "audio_std": found.std.tolist(),
        "audio_std_flat": found.flat,
    }
