"""Cuts of a dataset's scenes: what is sampled and measured, the same cuts as the reference's.

Letters: T frames of a cut, 1600 samples of 48 kHz to a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from training.data.scenes import SPLITS, open_scenes, released_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.dataset import SceneData

    Item = TypeVar("Item")

EVERYTHING = "all"  # for those who do not split
PARTNERS = {"PXB184": "RLW104", "RLW104": "PXB184", "TXB805": "GQS883", "GQS883": "TXB805"}


@dataclass(frozen=True, eq=False)
class Cut:
    """Where a clip lies in a dataset."""

    scene: SceneData
    first_frame: int
    place: int  # among all cuts of the split, in their order


@dataclass(frozen=True)
class Clip:
    """A cut that was read: sound and the motion that belongs to it."""

    cut: Cut
    audio: NDArray[np.float32]  # [1600 T, 2], channel 0 the person
    face: NDArray[np.float32]  # [T, 256], zero where the face was not seen
    pose: NDArray[np.float32]  # [T, 104]
    present: NDArray[np.bool_]  # [T], false where the face was not seen


def split_scenes(scenes: Sequence[Item], part: str) -> Sequence[Item]:
    """The scenes of a split, or of "all". Of few scenes the test takes what there is.

    ValueError where nothing is left for a split.
    """
    chosen = scenes if part == EVERYTHING else scenes[SPLITS[part]]
    if not chosen:
        raise ValueError(
            f"{len(scenes)} scenes are too few for a {part} split: the last 4 are the test, the 2 "
            "before them the validation; take --split test or all"
        )
    return chosen


def find_cuts(folder: Path, part: str, frames: int) -> list[Cut]:
    """All cuts of `frames` frames that the scenes of a split have, scene by scene.

    ValueError where there is none; DatasetError for a folder without scenes, or broken ones.
    """
    starts = [
        (scene, start)
        for scene in split_scenes(open_scenes(folder), part)
        for start in released_chunks(scene.frames, frames)
    ]
    if not starts:
        raise ValueError(
            f"no scene of the {part} split in {folder} is longer than {frames} frames; "
            "ask for a shorter --max-seq-length"
        )
    return [Cut(scene, start, place) for place, (scene, start) in enumerate(starts)]


def shuffled(cuts: Sequence[Cut], count: int, seed: int) -> list[Cut]:
    """`count` of the cuts, or all if there are fewer, in an order that the seed decides."""
    order = np.random.default_rng(seed).permutation(len(cuts))
    return [cuts[place] for place in order[:count]]


def read_clips(cuts: Sequence[Cut], frames: int, *, flipped: bool = False) -> Iterator[Clip]:
    """The clips of some cuts. flipped: the two channels of sound change places."""
    for cut in cuts:
        first, last = cut.first_frame, cut.first_frame + frames
        sound = cut.scene.samples(first, last)
        present = cut.scene.present()[first:last]
        yield Clip(
            cut,
            np.ascontiguousarray(sound[:, ::-1]) if flipped else sound,
            np.where(present[:, None], cut.scene.codes(first, last), np.float32(0)),
            cut.scene.poses(first, last),
            present,
        )


def partner_folder(folder: Path) -> Path:
    """Where the partner's recordings of a released person lie. ValueError for others."""
    name = folder.resolve().name
    if name not in PARTNERS:
        raise ValueError(
            f"{name} is none of {', '.join(PARTNERS)}, whose partners are known; name the folder "
            "of the partner's recordings: --flip-person DIR"
        )
    return folder.resolve().with_name(PARTNERS[name])
