"""Motion that comes back from other tools: npz, or BVH with a CSV of the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.bvh import read_bvh
from models.animation.figure import AnimationError
from models.animation.live_link import read_live_link
from models.animation.npz import open_npz
from models.animation.pose_solver import solve_pose

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.figure import Figure

    Floats = NDArray[np.floating[Any]]

BVH, CSV = ".bvh", ".csv"


@dataclass(frozen=True)
class EditedMotion:
    """Motion of one take."""

    face: Floats  # [T, 256] float32
    pose: Floats  # [T, P] float32
    error: float = 0.0  # rad; the part of a BVH that the person's parameters cannot express


def is_edited(motion: Path, face: Path | None) -> bool:
    """Return whether a file holds motion of one take, and not results of a dataset."""
    if motion.suffix.lower() == BVH or (face is not None and face.suffix.lower() == CSV):
        return True
    try:
        open_npz(motion)
    except AnimationError:
        return False
    return True


def read_edited(figure: Figure, motion: Path, face: Path | None) -> EditedMotion:
    """Read motion, and the face from another file if there is one.

    motion: npz or bvh. face: csv or npz; with bvh and without it the face is neutral.
    Raises: AnimationError: when a file is invalid, or the numbers of frames differ.
    """
    error = 0.0
    if motion.suffix.lower() == BVH:
        solved = solve_pose(figure, read_bvh(motion), motion)
        pose, error = solved.pose, solved.error
        codes = np.zeros((len(pose), figure.face_width), np.float32)
    else:
        codes, pose = _whole(motion)
    if face is not None:
        codes = _face(figure, face)
    if len(codes) != len(pose):
        raise AnimationError(
            f"{face}: {len(codes)} frames, and {motion} has {len(pose)}; export the same frames"
        )
    return EditedMotion(codes, pose, error)


def _face(figure: Figure, face: Path) -> Floats:
    if face.suffix.lower() != CSV:
        return _whole(face)[0]
    units = read_live_link(face, figure)
    assert figure.face_codes is not None
    return figure.face_codes(units)


def _whole(path: Path) -> tuple[Floats, Floats]:
    rows = open_npz(path).rows
    piece = rows.piece(0, rows.frames)
    return piece.face.astype(np.float32), piece.pose.astype(np.float32)
