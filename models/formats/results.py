"""Results of `python -m training sample`: sampled motion and ground truth in one .npz file.

Letters: R repetitions, N samples (cuts of scenes), T frames of the longest, K key poses.
The file contains the arrays of `Results` under their names, `options` as JSON and `schema`; arrays
that were not sampled are left out. It contains no pickle: `numpy.load(path)` reads it anywhere.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.errors import InputError
from contracts.files import write_atomically
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
SAMPLED = ("face", "pose", "key_poses")  # each is optional


class ResultsError(InputError):
    """Invalid results file, or arrays of results that do not match."""


@dataclass(frozen=True)
class Results:
    """Sampled motion, ground truth and options. Values after `lengths` are zero."""

    true_face: Floats  # [N, T, 256] recorded face codes, zero where the face was not tracked
    true_pose: Floats  # [N, T, 104] rad, and a few lengths
    face_present: NDArray[np.bool_]  # [N, T], False where the face was not tracked
    audio: Floats  # [N, 1600 T, 2] in [-1, 1]; channel 0 is the person
    lengths: Numbers  # [N] frames
    scenes: NDArray[np.str_]  # [N] scene of each sample
    first_frames: Numbers  # [N] start of each sample in its scene
    seeds: Numbers  # [R, N] seed of each take
    sampling_seconds: float  # from audio to motion, for all takes together
    options: Mapping[str, Any]  # of the request, plain JSON
    face: Floats | None = None  # [R, N, T, 256]
    pose: Floats | None = None  # [R, N, T, 104]
    key_poses: Floats | None = None  # [R, N, K, 104] that guided the body

    def __post_init__(self) -> None:
        sizes = dict(FIXED)
        for name, letters in SHAPES.items():
            value = getattr(self, name)
            if value is None:
                if name not in SAMPLED:
                    raise ResultsError(f"results: {name} is missing")
                continue
            _check(name, np.asarray(value), letters, sizes)
        if sizes["s"] != SAMPLES_PER_FRAME * sizes["T"]:
            raise ResultsError(
                f"audio: {sizes['s']} samples for {sizes['T']} frames; must be "
                f"{SAMPLES_PER_FRAME} per frame"
            )

    @property
    def repetitions(self) -> int:
        """Number of repetitions, R."""
        return self.seeds.shape[0]

    @property
    def samples(self) -> int:
        """Number of samples, N."""
        return self.seeds.shape[1]

    @property
    def frames(self) -> int:
        """Number of frames of the longest sample, T."""
        return self.true_pose.shape[1]


def _check(name: str, value: NDArray[Any], letters: str, sizes: dict[str, int]) -> None:
    kind = KINDS.get(name, "f")
    if value.dtype.kind != kind:
        raise ResultsError(f"{name}: must have dtype kind {kind!r}, found {value.dtype}")
    if value.ndim != len(letters):
        raise ResultsError(f"{name}: must be [{', '.join(letters)}], found {list(value.shape)}")
    for letter, size in zip(letters, value.shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise ResultsError(
                f"{name}: found {list(value.shape)}; {letter!r} must be {sizes[letter]} as in the "
                "other arrays"
            )


def write_results(path: Path, results: Results) -> None:
    """Write a results file atomically; equal results give equal bytes."""
    arrays = {
        name: np.asarray(getattr(results, name))
        for name in SHAPES
        if getattr(results, name) is not None
    }
    options = np.array(json.dumps(dict(results.options), sort_keys=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, schema=np.int64(SCHEMA), options=options, **arrays)


def read_results(path: Path) -> Results:
    """Read a file of `write_results`.

    Raises: ResultsError: when the file is missing, damaged or of another schema.
    """
    if not path.is_file():
        raise ResultsError(f"{path}: results not found; `python -m training sample` writes some")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        schema = int(arrays.pop("schema", np.int64(0)))
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ResultsError(f"{path}: not a results file ({error})") from error
    if schema != SCHEMA:
        raise ResultsError(f"{path}: unknown schema {schema}, expected {SCHEMA}")
    known = {field.name for field in fields(Results)}
    if unknown := sorted(arrays.keys() - known):
        raise ResultsError(f"{path}: unknown arrays: {', '.join(unknown)}")
    if missing := sorted(known - set(SAMPLED) - arrays.keys()):
        raise ResultsError(f"{path}: missing arrays: {', '.join(missing)}")
    try:
        options = json.loads(str(arrays.pop("options")))
        seconds = float(arrays.pop("sampling_seconds"))
        return Results(**arrays, sampling_seconds=seconds, options=options)
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path}: damaged: {error}") from error
