"""Cuts of scenes for sampling and evaluation, the same as in the reference.

Letters: T frames of a cut, 1600 samples of 48 kHz to a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from models.formats.dataset import DatasetError
from training.data.scenes import SPLITS, open_scenes, released_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.dataset import SceneData

    Item = TypeVar("Item")

ALL = "all"  # all scenes, without a split
PARTNERS = {"PXB184": "RLW104", "RLW104": "PXB184", "TXB805": "GQS883", "GQS883": "TXB805"}


@dataclass(frozen=True, eq=False)
class Cut:
    """Position of a clip in a dataset."""

    scene: SceneData
    first_frame: int
    index: int  # among all cuts of the split


@dataclass(frozen=True)
class Clip:
    """Audio and motion of a cut."""

    cut: Cut
    audio: NDArray[np.float32]  # [1600 T, 2], left (first) channel the person
    face: NDArray[np.float32]  # [T, 256], zero where the face is not visible
    pose: NDArray[np.float32]  # [T, 104]
    present: NDArray[np.bool_]  # [T], False where the face is not visible


def split_scenes(scenes: Sequence[Item], part: str) -> Sequence[Item]:
    """Scenes of the split "train", "val" or "test", or "all".

    With few scenes, "test" takes all of them.
    Raises: DatasetError: when a split is empty.
    """
    chosen = scenes if part == ALL else scenes[SPLITS[part]]
    if not chosen:
        raise DatasetError(
            f"{len(scenes)} scenes are too few for a {part} split: the last 4 are the test split, "
            "the 2 before them the validation split; pass --split test or all"
        )
    return chosen


def find_cuts(folder: Path, part: str, frames: int) -> list[Cut]:
    """Find all cuts of `frames` frames in the scenes of a split, scene by scene.

    Raises: DatasetError: when no scene is long enough, a folder has none, or a scene is invalid.
    """
    starts = [
        (scene, start)
        for scene in split_scenes(open_scenes(folder), part)
        for start in released_chunks(scene.frames, frames)
    ]
    if not starts:
        raise DatasetError(
            f"no scene of the {part} split in {folder} is longer than {frames} frames; "
            "pass a shorter --max-seq-length"
        )
    return [Cut(scene, start, index) for index, (scene, start) in enumerate(starts)]


def shuffled(cuts: Sequence[Cut], count: int, seed: int) -> list[Cut]:
    """Up to `count` cuts in a random order given by the seed."""
    order = np.random.default_rng(seed).permutation(len(cuts))
    return [cuts[index] for index in order[:count]]


def read_clips(cuts: Sequence[Cut], frames: int, *, flipped: bool = False) -> Iterator[Clip]:
    """Read the clips of cuts. flipped: swap the two channels of audio."""
    for cut in cuts:
        first, last = cut.first_frame, cut.first_frame + frames
        audio = cut.scene.samples(first, last)
        present = cut.scene.present()[first:last]
        yield Clip(
            cut,
            np.ascontiguousarray(audio[:, ::-1]) if flipped else audio,
            np.where(present[:, None], cut.scene.codes(first, last), np.float32(0)),
            cut.scene.poses(first, last),
            present,
        )


def partner_folder(folder: Path) -> Path:
    """Folder with the recordings of a released person's partner.

    Raises: DatasetError: when the partner is unknown.
    """
    name = folder.resolve().name
    if name not in PARTNERS:
        raise DatasetError(
            f"the partner of {name} is unknown (known: {', '.join(PARTNERS)}); pass the folder of "
            "the partner's recordings: --flip-person DIR"
        )
    return folder.resolve().with_name(PARTNERS[name])
