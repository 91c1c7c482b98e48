"""Motion as numpy arrays in one file, written and read in pieces.

Letters: T frames, P pose parameters, J joints, U face units. The arrays are listed in
docs/animation.md. The file contains no pickle.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from models.animation.figure import AnimationError
from models.animation.humanoid import retarget_names
from models.animation.rows import MotionRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.figure import Figure
    from models.animation.rows import Piece

    Floats = NDArray[np.floating[Any]]

VERSION = 2  # of the arrays; files of version 1 have no `version`
COMMENT = b"Synthetic: sampled by visavis from a recording"
NAME_LENGTH, LOCAL_HEADER = 26, 30  # place of the length, and size, of a member's header in a zip
EPOCH = (1980, 1, 1, 0, 0, 0)  # date of every member, so that equal motion gives equal files


def write_npz(
    path: Path, figure: Figure | None, rows: MotionRows, *, person: str, seed: int
) -> None:
    """Write motion, and with a figure its skeleton, names and face units."""
    first = rows.piece(0, 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.comment = COMMENT
        _write_rows(file, "face", rows, first.face.shape[1], lambda piece: piece.face)
        _write_rows(file, "pose", rows, first.pose.shape[1], lambda piece: piece.pose)
        if figure is not None and figure.unit_weights is not None:
            weights = figure.unit_weights
            width = len(figure.unit_names)
            _write_rows(file, "units", rows, width, lambda piece: weights(piece.face))
        for name, value in _facts(figure, rows, person, seed):
            with file.open(_member(name), "w") as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def _facts(
    figure: Figure | None, rows: MotionRows, person: str, seed: int
) -> Iterator[tuple[str, Any]]:
    yield "frame_rate", np.int64(rows.frame_rate)
    yield "person", np.str_(person)
    yield "seed", np.int64(seed)
    yield "version", np.int64(VERSION)
    if figure is None:
        return
    if figure.unit_names:
        yield "unit_names", np.array(figure.unit_names)
    if figure.parameter_names:
        yield "pose_names", np.array(figure.parameter_names)
    yield "joint_names", np.array(figure.joint_names)
    yield "joint_parents", np.array(figure.parents, np.int64)
    yield "rest_local", figure.rest_local.astype(np.float32)
    yield "rest_world", figure.rest_world.astype(np.float32)
    yield "channels", figure.skeleton.transform[:, : figure.pose_width].numpy().astype(np.float32)
    yield "metres", np.float64(figure.metres)
    yield "lift", figure.lift.astype(np.float32)
    for target, names in retarget_names(figure.joint_names).items():
        yield f"names_{target}", np.array(names)


def _write_rows(
    file: zipfile.ZipFile,
    name: str,
    rows: MotionRows,
    width: int,
    values: Callable[[Piece], Floats],
) -> None:
    """Write an array [T, width] float32 piece by piece."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows.frames, width)}
    with file.open(_member(name), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for piece in rows.pieces():
            member.write(np.ascontiguousarray(values(piece), "<f4").tobytes())


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy", EPOCH)


@dataclass(frozen=True)
class MotionFile:
    """Motion of an npz file, and the person that it belongs to."""

    rows: MotionRows
    person: str  # empty in files of version 1 without it
    seed: int


class _Rows:
    """Rows of one array, read without loading the array; a compressed one is loaded."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            with archive.open(entry) as member:
                self.shape, fortran, self._dtype = _header(member)
                header = member.tell()
            if len(self.shape) != 2 or fortran or self._dtype.kind != "f":
                raise ValueError(f"{name} is {list(self.shape)} {self._dtype}, not frames")
        self._whole: Floats | None = None
        if entry.compress_type != zipfile.ZIP_STORED:
            with np.load(path, allow_pickle=False) as file:
                self._whole = file[name]
        with path.open("rb") as content:
            content.seek(entry.header_offset + NAME_LENGTH)
            name_length, extra_length = struct.unpack("<HH", content.read(4))
        self._start = entry.header_offset + LOCAL_HEADER + name_length + extra_length + header

    def read(self, start: int, stop: int) -> Floats:
        if self._whole is not None:
            return self._whole[start:stop]
        row = self.shape[1] * self._dtype.itemsize
        with self._path.open("rb") as content:
            content.seek(self._start + start * row)
            values = np.fromfile(content, self._dtype, (stop - start) * self.shape[1])
        if len(values) != (stop - start) * self.shape[1]:
            raise AnimationError(f"{self._path}: {self._name} ends early; copy the file again")
        return values.reshape(stop - start, self.shape[1])


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = read[version](member)
    return shape, fortran, dtype


def open_npz(path: Path) -> MotionFile:
    """Open a motion file; its rows are read when they are used.

    Raises: AnimationError: when the file is missing, damaged, or not a motion file.
    """
    try:
        face, pose = _Rows(path, "face"), _Rows(path, "pose")
        with np.load(path, allow_pickle=False) as file:
            person = str(file["person"]) if "person" in file.files else ""
            seed = int(file["seed"]) if "seed" in file.files else 0
            rate = int(file["frame_rate"]) if "frame_rate" in file.files else 30
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise AnimationError(
            f"{path}: not a motion file ({reason}); pass an npz of the output `motion`"
        ) from error
    if face.shape[0] != pose.shape[0]:
        raise AnimationError(f"{path}: face {list(face.shape)} and pose {list(pose.shape)} differ")

    def read(start: int, stop: int) -> tuple[Floats, Floats]:
        return face.read(start, stop), pose.read(start, stop)

    return MotionFile(MotionRows(pose.shape[0], rate, read), person, seed)
