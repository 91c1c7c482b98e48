"""Scenes of a dataset on disk, and the windows and padded samples that training reads from them.

Letters: T frames (30/s), C channels of motion, L feature rows, A features of a row, B samples.
Data is loaded when it is sampled: motion is memory-mapped and normalised window by window, features
come from the cache of `training.data.features`. Windows of a batch are in the order of the scenes,
and a process loads its share only, so each process reads few scenes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.formats.dataset import DatasetError, find_scenes
from training.networks.losses import length_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Generator

    from models.formats.dataset import SceneData

    Extract = Callable[[SceneData], "Tensor | FeatureSource"]

logger = logging.getLogger(__name__)

FACE, POSE = "face_expression", "body_pose"
SHORTEST, LONGEST = 400, 600  # frames of a padded sample in the released settings
SPLITS = {"train": slice(None, -6), "val": slice(-6, -4), "test": slice(-4, None)}
TRIES = 1000  # windows that are sampled to find one with a visible face


class FeatureSource(Protocol):
    """Features of a scene, cached or computed on demand."""

    def latest_start(self, start: int, frames: int) -> int:
        """The last frame up to `start` at which features of all frames belong together."""
        ...

    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """Rows of frames [start, start + frames), zero-padded to the rows of `padded` frames."""
        ...


class Rows(Protocol):
    """Rows in time that can be sliced."""

    def __len__(self) -> int:
        """Number of rows, T."""
        ...

    def __getitem__(self, rows: slice, /) -> Tensor:
        """A slice of the rows."""
        ...


@dataclass(frozen=True)
class Scene:
    """One conversation, ready for sampling."""

    name: str
    features: Tensor | FeatureSource  # [L, A], or their source
    motion: Rows  # [T, C], normalised
    present: Tensor  # [T], 0 where the face is not visible

    @property
    def frames(self) -> int:
        return len(self.motion)


@dataclass(frozen=True)
class Shard:
    """Share of a process: part `rank` of `count` equal parts, in order."""

    rank: int = 0
    count: int = 1

    def rows(self, size: int) -> range:
        """Rows of a batch of `size`, as `TrainingBatch.parts` divides it."""
        return range(size * self.rank // self.count, size * (self.rank + 1) // self.count)


WHOLE = Shard()


@dataclass(frozen=True)
class Window:
    """A part of a scene; a short one is zero-padded."""

    features: Tensor  # [L, A]
    motion: Tensor  # [T, C]
    present: Tensor  # [T]
    frames: int  # without padding


@dataclass(frozen=True)
class Batch:
    """Windows of the same length."""

    features: Tensor  # [B, L, A]
    motion: Tensor  # [B, T, C]
    present: Tensor  # [B, T], 0 where the face is not visible
    inside: Tensor  # [B, T] bool, False in the padding of a short sample

    @property
    def frames(self) -> int:
        return self.motion.shape[1]


@dataclass(frozen=True)
class StoredMotion:
    """Motion on disk, normalised when it is sliced; zero where the face is not visible."""

    data: SceneData
    kind: str
    mean: Tensor  # [C]
    std: Tensor  # [C]
    present: Tensor  # [T]

    def __len__(self) -> int:
        return self.data.frames

    def __getitem__(self, frames: slice, /) -> Tensor:
        read = self.data.codes if self.kind == FACE else self.data.poses
        cut = torch.from_numpy(read(frames.start, frames.stop))
        hidden = self.present[frames, None] == 0
        return ((cut - self.mean) / self.std).masked_fill(hidden, 0.0)  # may be NaN there


def open_scenes(folder: Path) -> list[SceneData]:
    """Open the scenes of a folder in order of names, without those that never show a face.

    Raises: DatasetError: when no scene is left, or one is incomplete.
    """
    scenes = []
    for files in find_scenes(folder):
        scene = files.open()
        if scene.present().any():
            scenes.append(scene)
        else:
            logger.info("scene %s has no frame with a face: skipped", scene.name)
    if not scenes:
        raise DatasetError(f"no scene in {folder} has a frame with a face")
    return scenes


def load_scenes(
    folder: Path, kind: str, extract: Extract, *, mean: Tensor, std: Tensor
) -> list[Scene]:
    """Open all scenes of a folder with motion of `kind`, normalised by mean and std [C].

    extract: returns the features of a scene, or their source.
    Raises: DatasetError: when a scene is invalid.
    """
    return [_scene(data, kind, extract, mean, std) for data in open_scenes(folder)]


def _scene(data: SceneData, kind: str, extract: Extract, mean: Tensor, std: Tensor) -> Scene:
    visible = data.present() if kind == FACE else np.ones(data.frames, np.bool_)
    present = torch.from_numpy(visible).float()
    return Scene(data.name, extract(data), StoredMotion(data, kind, mean, std, present), present)


def sample_windows(
    scenes: Sequence[Scene],
    frames: int,
    count: int,
    generator: Generator,
    *,
    step: int = 1,
    shard: Shard = WHOLE,
) -> Batch:
    """Sample `count` windows of `frames` frames: scenes by their length, starts in steps of `step`.

    A window without a visible face is sampled again. Rows outside the shard are zeros.
    """
    long = _long_enough(scenes, frames)
    weights = torch.tensor([float(scene.frames - frames + 1) for scene in long])
    chosen = torch.multinomial(weights, count, replacement=True, generator=generator)

    def sample(scene: Scene) -> _Place:
        last = (scene.frames - frames) // step
        start = step * int(torch.randint(last + 1, (1,), generator=generator))
        return _place(scene, start, frames, frames)

    places = [_with_face(long[index], sample) for index in sorted(chosen.tolist())]
    return _read(places, frames, shard)


def sample_padded(
    scenes: Sequence[Scene],
    count: int,
    generator: Generator,
    *,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
    shard: Shard = WHOLE,
) -> Batch:
    """Sample `count` windows as in the released settings, zero-padded to `longest` frames.

    Scenes are sampled by their length; a sample has [shortest, longest) frames from anywhere in its
    scene. A sample without a visible face is sampled again. Three mistakes of the reference are
    avoided: its index 0 is a frame of the last scene, it never samples the last possible start, and
    it fails on a scene shorter than `longest`. Rows outside the shard are zeros.
    """
    long = _long_enough(scenes, shortest)
    weights = torch.tensor([float(scene.frames) for scene in long])
    chosen = torch.multinomial(weights, count, replacement=True, generator=generator)

    def sample(scene: Scene) -> _Place:
        most = max(shortest + 1, min(longest, scene.frames + 1))
        frames = int(torch.randint(shortest, most, (1,), generator=generator))
        start = int(torch.randint(scene.frames - frames + 1, (1,), generator=generator))
        return _place(scene, start, frames, longest)

    places = [_with_face(long[index], sample) for index in sorted(chosen.tolist())]
    return _read(places, longest, shard)


def window(scene: Scene, start: int, frames: int, *, padded: int = 0) -> Window:
    """Frames [start, start + frames) of a scene, zero-padded to `padded` frames.

    The window starts earlier when no piece of the cached features contains all of it.
    """
    return _place(scene, start, frames, max(padded, frames)).read()


@dataclass(frozen=True)
class _Place:
    """A window that is not loaded yet."""

    scene: Scene
    start: int
    frames: int
    padded: int

    @property
    def has_face(self) -> bool:
        return bool(self.scene.present[self.start : self.start + self.frames].any())

    def read(self) -> Window:
        scene, start, frames, padded = self.scene, self.start, self.frames, self.padded
        source = scene.features
        if isinstance(source, Tensor):
            rows = len(source) / scene.frames
            first = round(start * rows)
            features = pad_rows(source[first : first + round(frames * rows)], round(padded * rows))
        else:
            features = source.window(start, frames, padded)
        cut = slice(start, start + frames)
        motion, present = pad_rows(scene.motion[cut], padded), pad_rows(scene.present[cut], padded)
        return Window(features, motion, present, frames)


def _place(scene: Scene, start: int, frames: int, padded: int) -> _Place:
    if not isinstance(scene.features, Tensor):
        start = scene.features.latest_start(start, frames)
    return _Place(scene, start, frames, padded)


def pad_rows(rows: Tensor, count: int) -> Tensor:
    """Zero-pad rows [n, ...] to [count, ...]."""
    if len(rows) == count:
        return rows
    return functional.pad(rows, (0, 0) * (rows.ndim - 1) + (0, count - len(rows)))


def _long_enough(scenes: Sequence[Scene], frames: int) -> list[Scene]:
    long = [scene for scene in scenes if scene.frames >= frames and scene.present.any()]
    if not long:
        raise DatasetError(f"no scene has {frames} frames; use a shorter window")
    return long


def _with_face(scene: Scene, sample: Callable[[Scene], _Place]) -> _Place:
    """Sample windows until one has a visible face."""
    for _ in range(TRIES):
        candidate = sample(scene)
        if candidate.has_face:
            return candidate
    raise DatasetError(f"scene {scene.name} has almost no frames with a face; remove it")


def _read(places: Sequence[_Place], frames: int, shard: Shard) -> Batch:
    """Load the windows of the shard; other rows are zeros."""
    own = shard.rows(len(places)) or range(1)
    windows = [places[row].read() for row in own]

    def stacked(rows: list[Tensor]) -> Tensor:
        if len(own) == len(places):
            return torch.stack(rows)
        batch = torch.zeros(len(places), *rows[0].shape, dtype=rows[0].dtype)
        batch[own.start : own.stop] = torch.stack(rows)
        return batch

    return Batch(
        stacked([each.features for each in windows]),
        stacked([each.motion for each in windows]),
        stacked([each.present for each in windows]),
        length_mask(torch.tensor([each.frames for each in places]), frames),
    )


def chunks(frames: int, longest: int) -> range:
    """First frames of consecutive chunks of a scene; a shorter rest is dropped."""
    return range(0, frames - longest + 1, longest)


def released_chunks(frames: int, longest: int) -> range:
    """First frames of the chunks on which the reference tests a scene.

    As there, a last chunk that ends exactly with the scene is dropped.
    """
    return range(0, frames - longest, longest)
