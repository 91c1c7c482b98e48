"""Motion that is read in pieces, so that writers need little memory.

Letters: T frames of the motion, N frames of a piece, P pose parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.figure import AnimationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

PIECE = 600  # frames


@dataclass(frozen=True)
class Piece:
    """Some frames of a motion."""

    start: int  # number of the first frame
    face: Floats  # [N, 256]
    pose: Floats  # [N, P]

    def __len__(self) -> int:
        return len(self.pose)


@dataclass(frozen=True)
class MotionRows:
    """Motion of one take; `read` may be called several times for the same frames."""

    frames: int  # T
    frame_rate: int  # a second
    read: Callable[[int, int], tuple[Floats, Floats]]  # frames [start, stop): face, pose
    progress: Callable[[float], None] = lambda share: None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise AnimationError("motion: no frames; export motion with at least one frame")

    @property
    def seconds(self) -> float:
        return self.frames / self.frame_rate

    def pieces(self, size: int = PIECE) -> Iterator[Piece]:
        """Yield all frames in order. Raises: AnimationError: for values that are not finite."""
        for start in range(0, self.frames, size):
            yield self.piece(start, min(start + size, self.frames))
            self.progress(min(start + size, self.frames) / self.frames)

    def piece(self, start: int, stop: int) -> Piece:
        """Return frames [start, stop). Raises: AnimationError: for values that are not finite."""
        face, pose = self.read(start, stop)
        for name, values in (("face", face), ("pose", pose)):
            invalid = np.flatnonzero(~np.isfinite(values).all(1))
            if len(invalid):
                raise AnimationError(
                    f"{name}: frame {start + int(invalid[0])} has a value that is not finite; "
                    "repair the motion, or leave the frame out"
                )
        return Piece(start, face, pose)


def rows_of(face: Floats, pose: Floats, frame_rate: int = 30) -> MotionRows:
    """Motion in memory: face [T, 256] and pose [T, P].

    Raises: AnimationError: when the lengths differ.
    """
    if face.ndim != 2 or pose.ndim != 2 or len(face) != len(pose):
        raise AnimationError(
            f"motion: face {list(face.shape)} and pose {list(pose.shape)} do not match; both need "
            "a row for each frame"
        )
    return MotionRows(
        len(pose), frame_rate, lambda start, stop: (face[start:stop], pose[start:stop])
    )
