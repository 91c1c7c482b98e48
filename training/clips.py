"""Cuts of a dataset's scenes: what is sampled and measured, the same cuts as the reference's.

Letters: T frames of a cut, 1600 samples of 48 kHz to a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data import FACE, POSE, released_chunks
from training.sound import SAMPLES_PER_FRAME, read_wav

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

SPLITS = ("train", "val", "test", "all")
TESTED, VALIDATED = 4, 2  # scenes, the last ones by name, and those before them
PARTNERS = {"PXB184": "RLW104", "RLW104": "PXB184", "TXB805": "GQS883", "GQS883": "TXB805"}
TURNS_COUNTED = ("PXB184", "RLW104")  # whose pose column 3 counts whole turns
TURN_COLUMN = 3


@dataclass(frozen=True)
class Cut:
    """Where a clip lies in a dataset."""

    scene: str
    first_frame: int
    place: int  # among all cuts of the split, in their order


@dataclass(frozen=True)
class Clip:
    """A cut that was read: sound and the motion that belongs to it."""

    cut: Cut
    audio: NDArray[np.float32]  # [1600 T, 2], channel 0 the person
    face: NDArray[np.float32]  # [T, 256]
    pose: NDArray[np.float32]  # [T, 104]
    present: NDArray[np.bool_]  # [T], false where the face was not seen


def split_scenes(names: Sequence[str], split: str) -> list[str]:
    """The scenes of a split: the last 4 by name are tested on, the 2 before them validate.

    Of fewer scenes the test takes what there is, then the validation.
    """
    first_tested = max(0, len(names) - TESTED)
    first_validated = max(0, first_tested - VALIDATED)
    chosen = {
        "train": names[:first_validated],
        "val": names[first_validated:first_tested],
        "test": names[first_tested:],
        "all": names,
    }[split]
    if not chosen:
        raise ValueError(
            f"{len(names)} scenes are too few for a {split} split: the last {TESTED} are the test, "
            f"the {VALIDATED} before them the validation; take --split test or all"
        )
    return list(chosen)


def find_cuts(folder: Path, split: str, frames: int) -> list[Cut]:
    """All cuts of `frames` frames that the scenes of a split have, scene by scene.

    Scenes of which no face was seen are passed over. ValueError where there is no cut at all.
    """
    starts = [
        (name, start)
        for name in split_scenes(_seen_scenes(folder), split)
        for start in released_chunks(_frames(folder, name), frames)
    ]
    if not starts:
        raise ValueError(
            f"no scene of the {split} split in {folder} is longer than {frames} frames; "
            "ask for a shorter --max-seq-length"
        )
    return [Cut(name, start, place) for place, (name, start) in enumerate(starts)]


def shuffled(cuts: Sequence[Cut], count: int, seed: int) -> list[Cut]:
    """`count` of the cuts, or all if there are fewer, in an order that the seed decides."""
    order = np.random.default_rng(seed).permutation(len(cuts))
    return [cuts[place] for place in order[:count]]


def read_clips(
    folder: Path, cuts: Sequence[Cut], frames: int, *, flipped: bool = False
) -> Iterator[Clip]:
    """The clips of some cuts. flipped: the two channels of sound change places."""
    for cut in cuts:
        yield _read(folder, cut, frames, flipped=flipped)


def partner_folder(folder: Path) -> Path:
    """Where the partner's recordings of a released person lie. ValueError for others."""
    name = folder.resolve().name
    if name not in PARTNERS:
        raise ValueError(
            f"{name} is none of {', '.join(PARTNERS)}, whose partners are known; name the folder "
            "of the partner's recordings: --flip-person DIR"
        )
    return folder.resolve().with_name(PARTNERS[name])


def _read(folder: Path, cut: Cut, frames: int, *, flipped: bool) -> Clip:
    part = slice(cut.first_frame, cut.first_frame + frames)
    sound = read_wav(folder / f"{cut.scene}_audio.wav")
    sound = sound[part.start * SAMPLES_PER_FRAME : part.stop * SAMPLES_PER_FRAME]
    pose = np.array(_motion(folder, cut.scene, POSE)[part], np.float32)
    if folder.resolve().name in TURNS_COUNTED:
        pose[:, TURN_COLUMN] = np.mod(pose[:, TURN_COLUMN], 2 * np.pi)
    present = np.ones(_frames(folder, cut.scene), np.bool_)
    present[_missing(folder, cut.scene)] = False
    return Clip(
        cut,
        np.ascontiguousarray(sound[:, ::-1] if flipped else sound),
        np.array(_motion(folder, cut.scene, FACE)[part], np.float32),
        pose,
        present[part],
    )


def _seen_scenes(folder: Path) -> list[str]:
    names = sorted(path.name.removesuffix("_audio.wav") for path in folder.glob("*_audio.wav"))
    if not names:
        raise ValueError(f"no scenes (*_audio.wav) in {folder}; `data make-demo` makes some")
    return [name for name in names if len(_missing(folder, name)) < _frames(folder, name)]


def _motion(folder: Path, name: str, kind: str) -> Array:
    return np.load(folder / f"{name}_{kind}.npy", mmap_mode="r", allow_pickle=False)


def _frames(folder: Path, name: str) -> int:
    return len(_motion(folder, name, POSE))


def _missing(folder: Path, name: str) -> NDArray[np.int64]:
    path = folder / f"{name}_missing_face_frames.npy"
    return np.load(path, allow_pickle=False).astype(np.int64).reshape(-1)
