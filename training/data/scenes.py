"""The dataset in training: scenes that stay on disk, windows and padded samples of them, splits.

Letters: T frames (30/s), C channels of motion, L feature rows, A features of a row, B samples.
Nothing is loaded before it is drawn: motion is read through a memory map and normalised window by
window, features are read as `training.data.features` has kept them.
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

    Hear = Callable[[SceneData], "Tensor | FeatureSource"]

logger = logging.getLogger(__name__)

FACE, POSE = "face_expression", "body_pose"
SHORTEST, LONGEST = 400, 600  # frames of a padded sample of the released settings
SPLITS = {"train": slice(None, -6), "val": slice(-6, -4), "test": slice(-4, None)}
CONTENT_TRIES = 1000


class FeatureSource(Protocol):
    """What a scene sounds like to a person's networks, wherever it is kept."""

    def fitting(self, start: int, frames: int) -> int:
        """The last place up to `start` from which so many frames were heard as one."""
        ...

    def window(self, start: int, frames: int, padded: int) -> Tensor:
        """The rows of frames [start, start + frames), zeros behind them up to those of `padded`."""
        ...


class Rows(Protocol):
    """Rows in time, of which some are cut."""

    def __len__(self) -> int:
        """T."""
        ...

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Some of them."""
        ...


@dataclass(frozen=True)
class Scene:
    """One conversation, ready to be cut."""

    name: str
    features: Tensor | FeatureSource  # [L, A], or where they can be had
    motion: Rows  # [T, C], normalised
    present: Tensor  # [T], 0 where the face was not seen

    @property
    def frames(self) -> int:
        return len(self.motion)


@dataclass(frozen=True)
class Window:
    """A piece of a scene; behind a short one there are zeros."""

    features: Tensor  # [L, A]
    motion: Tensor  # [T, C]
    present: Tensor  # [T]
    frames: int  # those that are the scene's


@dataclass(frozen=True)
class Batch:
    """Windows of the same length."""

    features: Tensor  # [B, L, A]
    motion: Tensor  # [B, T, C]
    present: Tensor  # [B, T], 0 where the face was not seen
    inside: Tensor  # [B, T] bool, False behind the end of a short sample

    @property
    def frames(self) -> int:
        return self.motion.shape[1]


@dataclass(frozen=True)
class StoredMotion:
    """Motion as it lies on disk, normalised when it is cut; nothing where nothing was seen."""

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
        unseen = self.present[frames, None] == 0
        return ((cut - self.mean) / self.std).masked_fill(unseen, 0.0)  # may be NaN there


def open_scenes(folder: Path) -> list[SceneData]:
    """The scenes of a folder, by name, without those in which no face was ever seen.

    DatasetError where there are none, or where one is not whole.
    """
    scenes = []
    for files in find_scenes(folder):
        scene = files.open()
        if scene.present().any():
            scenes.append(scene)
        else:
            logger.info("scene %s has no frame with a face; it is left out", scene.name)
    if not scenes:
        raise DatasetError(f"no scene in {folder} has a frame with a face")
    return scenes


def load_scenes(
    folder: Path, kind: str, extract: Hear, *, mean: Tensor, std: Tensor
) -> list[Scene]:
    """All scenes of a folder with motion of `kind`, normalised by mean and std [C].

    hear: gives a scene's features, or where they are kept. Raises DatasetError.
    """
    return [_scene(data, kind, extract, mean, std) for data in open_scenes(folder)]


def _scene(data: SceneData, kind: str, extract: Hear, mean: Tensor, std: Tensor) -> Scene:
    seen = data.present() if kind == FACE else np.ones(data.frames, np.bool_)
    present = torch.from_numpy(seen).float()
    return Scene(data.name, extract(data), StoredMotion(data, kind, mean, std, present), present)


def draw_windows(
    scenes: Sequence[Scene], frames: int, count: int, generator: Generator, *, step: int = 1
) -> Batch:
    """`count` windows of `frames` frames; scenes are drawn by their length, starts by `step`.

    A window in which no face was seen is drawn again.
    """
    long = _long_enough(scenes, frames)
    weights = torch.tensor([float(scene.frames - frames + 1) for scene in long])
    chosen = torch.multinomial(weights, count, replacement=True, generator=generator)

    def drawn(scene: Scene) -> Window:
        last = (scene.frames - frames) // step
        start = step * int(torch.randint(last + 1, (1,), generator=generator))
        return window(scene, start, frames)

    return _stacked([_with_content(long[index], drawn) for index in chosen.tolist()], frames)


def draw_padded(
    scenes: Sequence[Scene],
    count: int,
    generator: Generator,
    *,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
) -> Batch:
    """`count` samples of the released settings: scenes are drawn by their length, a sample has
    [shortest, longest) frames from anywhere in its scene, and zeros behind them up to `longest`.

    A sample in which no face was seen is drawn again. Differs from the reference where that has
    slips: its index 0 is a frame of the last scene, its last possible start is never drawn, and it
    stops at a scene that is shorter than `longest`.
    """
    long = _long_enough(scenes, shortest)
    weights = torch.tensor([float(scene.frames) for scene in long])
    chosen = torch.multinomial(weights, count, replacement=True, generator=generator)

    def drawn(scene: Scene) -> Window:
        most = max(shortest + 1, min(longest, scene.frames + 1))
        frames = int(torch.randint(shortest, most, (1,), generator=generator))
        start = int(torch.randint(scene.frames - frames + 1, (1,), generator=generator))
        return window(scene, start, frames, padded=longest)

    return _stacked([_with_content(long[index], drawn) for index in chosen.tolist()], longest)


def window(scene: Scene, start: int, frames: int, *, padded: int = 0) -> Window:
    """Frames [start, start + frames) of a scene, zeros behind them up to `padded` frames.

    It begins earlier where features are kept in pieces and none has all of it.
    """
    padded = max(padded, frames)
    heard = scene.features
    if isinstance(heard, Tensor):
        rows = len(heard) / scene.frames
        first = round(start * rows)
        features = filled(heard[first : first + round(frames * rows)], round(padded * rows))
    else:
        start = heard.fitting(start, frames)
        features = heard.window(start, frames, padded)
    cut = slice(start, start + frames)
    motion, present = filled(scene.motion[cut], padded), filled(scene.present[cut], padded)
    return Window(features, motion, present, frames)


def filled(rows: Tensor, count: int) -> Tensor:
    """Rows [n, ...] with zeros behind them, [count, ...]."""
    if len(rows) == count:
        return rows
    return functional.pad(rows, (0, 0) * (rows.ndim - 1) + (0, count - len(rows)))


def _long_enough(scenes: Sequence[Scene], frames: int) -> list[Scene]:
    long = [scene for scene in scenes if scene.frames >= frames and scene.present.any()]
    if not long:
        raise ValueError(f"no scene has {frames} frames; make the window shorter")
    return long


def _with_content(scene: Scene, drawn: Callable[[Scene], Window]) -> Window:
    """A window in which something was seen."""
    for _ in range(CONTENT_TRIES):
        found = drawn(scene)
        if found.present.any():
            return found
    raise ValueError(f"scene {scene.name} has hardly a frame with a face; take it away")


def _stacked(windows: Sequence[Window], frames: int) -> Batch:
    return Batch(
        torch.stack([each.features for each in windows]),
        torch.stack([each.motion for each in windows]),
        torch.stack([each.present for each in windows]),
        length_mask(torch.tensor([each.frames for each in windows]), frames),
    )


def chunks(frames: int, longest: int) -> range:
    """First frames of the chunks of a scene, one behind the other; what is left over is not one."""
    return range(0, frames - longest + 1, longest)


def released_chunks(frames: int, longest: int) -> range:
    """First frames of the chunks that the reference tests a scene on.

    One that would end exactly with the scene is left out, as there.
    """
    return range(0, frames - longest, longest)
