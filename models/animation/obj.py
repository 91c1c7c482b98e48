"""One frame of a take as Wavefront OBJ: the posed mesh in metres, with texture coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.figure import AnimationError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.figure import Figure
    from models.animation.rows import MotionRows


def write_obj(path: Path, figure: Figure, rows: MotionRows, *, frame: int = 0) -> None:
    """Write the mesh of a frame, counted from 0.

    Raises: AnimationError: when the motion has no such frame.
    """
    if not 0 <= frame < rows.frames:
        raise AnimationError(
            f"frame: the motion has no frame {frame}; choose 0 to {rows.frames - 1}"
        )
    piece = rows.piece(frame, frame + 1)
    vertices, mesh = figure.posed(piece.face, piece.pose)[0], figure.mesh
    corners = np.stack([mesh.faces, mesh.uv_faces], axis=-1).reshape(-1, 6) + 1
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"# {_ascii(figure.name)}, frame {frame}; metres, y up; by visavis\no body\n")
        _write(file.write, "v %.6f %.6f %.6f\n", vertices)
        _write(file.write, "vt %.6f %.6f\n", mesh.uv * (1, -1) + (0, 1))
        _write(file.write, "f %d/%d %d/%d %d/%d\n", corners)


def _write(write: Any, line: str, table: NDArray[Any]) -> None:
    write("".join(line % tuple(row) for row in table.tolist()))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
