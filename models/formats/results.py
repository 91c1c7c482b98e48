"""Samples of a dataset beside its truth: what `python -m training sample` writes, one .npz file.

Letters: R repetitions, N samples (cuts of scenes), T frames of the longest, K key poses.
The file holds the arrays of `Results` under their names, `options` as JSON and `schema`; arrays
that were not drawn are left out. No pickle: `numpy.load(path)` reads it anywhere.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from models.formats.wav import SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Numbers = NDArray[np.int64]

SCHEMA = 1
RESULTS = "results.npz"
SHAPES = {  # "" is a single value
    "true_face": "NTf",
    "true_pose": "NTp",
    "face_present": "NT",
    "audio": "Nsc",
    "lengths": "N",
    "scenes": "N",
    "first_frames": "N",
    "seeds": "RN",
    "sampling_seconds": "",
    "face": "RNTf",
    "pose": "RNTp",
    "key_poses": "RNKp",
}
FIXED = {"f": 256, "p": 104, "c": 2}
KINDS = {"face_present": "b", "lengths": "i", "first_frames": "i", "seeds": "i", "scenes": "U"}
DRAWN = ("face", "pose", "key_poses")  # each may be missing


class ResultsError(ValueError):
    """A file that is no results, or results that do not fit together."""


@dataclass(frozen=True)
class Results:
    """What was drawn, what it was drawn for, and how. Behind `lengths` everything is zero."""

    true_face: Floats  # [N, T, 256] face codes as recorded, zero where none was seen
    true_pose: Floats  # [N, T, 104] rad, and a few lengths
    face_present: NDArray[np.bool_]  # [N, T], false where the face was not seen
    audio: Floats  # [N, 1600 T, 2] in [-1, 1]; channel 0 is the person
    lengths: Numbers  # [N] frames
    scenes: NDArray[np.str_]  # [N] which recording
    first_frames: Numbers  # [N] where in it
    seeds: Numbers  # [R, N] of each take
    sampling_seconds: float  # for all of it, from sound to motion
    options: Mapping[str, Any]  # what was asked for, plain JSON
    face: Floats | None = None  # [R, N, T, 256]
    pose: Floats | None = None  # [R, N, T, 104]
    key_poses: Floats | None = None  # [R, N, K, 104] what the body was led by

    def __post_init__(self) -> None:
        sizes = dict(FIXED)
        for name, letters in SHAPES.items():
            value = getattr(self, name)
            if value is None:
                if name not in DRAWN:
                    raise ResultsError(f"results lack {name}")
                continue
            _check(name, np.asarray(value), letters, sizes)
        if sizes["s"] != SAMPLES_PER_FRAME * sizes["T"]:
            raise ResultsError(
                f"audio has {sizes['s']} samples for {sizes['T']} frames; "
                f"{SAMPLES_PER_FRAME} belong to a frame"
            )

    @property
    def repetitions(self) -> int:
        return self.seeds.shape[0]

    @property
    def samples(self) -> int:
        return self.seeds.shape[1]

    @property
    def frames(self) -> int:
        """T, of the longest sample."""
        return self.true_pose.shape[1]


def _check(name: str, value: NDArray[Any], letters: str, sizes: dict[str, int]) -> None:
    kind = KINDS.get(name, "f")
    if value.dtype.kind != kind:
        raise ResultsError(f"{name} has numbers of kind {value.dtype}, expected {kind}")
    if value.ndim != len(letters):
        raise ResultsError(f"{name} must be [{', '.join(letters)}], got {list(value.shape)}")
    for letter, size in zip(letters, value.shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise ResultsError(f"{name} is {list(value.shape)} where {sizes[letter]} of {letter!r} "
                               "fit the rest")  # fmt: skip


def write_results(path: Path, results: Results) -> None:
    """Write the file, whole or not at all; the same results give the same bytes."""
    arrays = {
        name: np.asarray(getattr(results, name))
        for name in SHAPES
        if getattr(results, name) is not None
    }
    options = np.array(json.dumps(dict(results.options), sort_keys=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, schema=np.int64(SCHEMA), options=options, **arrays)
    draft.replace(path)


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote. ResultsError names what is wrong with a file."""
    if not path.is_file():
        raise ResultsError(f"no results at {path}; `python -m training sample` writes some")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        schema = int(arrays.pop("schema", np.int64(0)))
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ResultsError(f"{path} is no results file: {error}") from error
    if schema != SCHEMA:
        raise ResultsError(f"{path} has schema {schema}, expected {SCHEMA}")
    known = {field.name for field in fields(Results)}
    if unknown := sorted(arrays.keys() - known):
        raise ResultsError(f"{path} holds arrays that are not known: {', '.join(unknown)}")
    if missing := sorted(known - set(DRAWN) - arrays.keys()):
        raise ResultsError(f"{path} lacks {', '.join(missing)}")
    try:
        options = json.loads(str(arrays.pop("options")))
        seconds = float(arrays.pop("sampling_seconds"))
        return Results(**arrays, sampling_seconds=seconds, options=options)
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path} is damaged: {error}") from error
