"""Assembly of all parts of a person into one mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sparse

from training.demo.mesh.clothes import build_sweater, build_trousers
from training.demo.mesh.geometry import triangulate
from training.demo.mesh.hair import build_bun, build_cap, place_whorl
from training.demo.mesh.head import build_eyes, build_skin, build_teeth, build_tongue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.demo.mesh.geometry import Indices, Mix, Piece, Points
    from training.demo.mesh.head import Body


@dataclass(frozen=True)
class Assembly:
    """All parts in one mesh."""

    names: tuple[str, ...]
    mix: Mix  # [V, N]
    template: Points  # [V, 3]
    parts: Indices  # [V]
    faces: Indices  # [F, 3]
    uv_faces: Indices  # [F, 3]
    uv: Points  # [M, 2], v upwards
    source_uv: Points  # [M, 2]

    def mask(self, *names: str) -> NDArray[np.bool_]:
        """Mask of the vertices of the named parts, [V]; not every person has each of them."""
        return np.isin(self.parts, [self.names.index(name) for name in names if name in self.names])


def assemble(body: Body) -> Assembly:
    """Build all parts and join them into one mesh."""
    whorl = place_whorl(body)
    pieces = {
        "skin": build_skin(body),
        "eyes": build_eyes(body),
        "teeth": build_teeth(body),
        "tongue": build_tongue(body),
        "sweater": build_sweater(body),
        "trousers": build_trousers(body),
        "hair": build_cap(body, whorl),
    }
    if body.looks.hair.bun:
        pieces["bun"] = build_bun(body, whorl)
    return _joined({name: triangulate(piece) for name, piece in pieces.items()}, body)


def _joined(pieces: dict[str, Piece], body: Body) -> Assembly:
    counts = [len(piece.offset) for piece in pieces.values()]
    first = np.cumsum([0, *counts])
    first_uv = np.cumsum([0, *(len(piece.uv) for piece in pieces.values())])
    parts = list(pieces.values())
    return Assembly(
        tuple(pieces),
        sparse.vstack([part.mix for part in parts]).tocsr(),
        np.concatenate([part.positions(body.shape) for part in parts]),
        np.repeat(np.arange(len(parts)), counts),
        np.concatenate([p.faces + start for p, start in zip(parts, first, strict=False)]),
        np.concatenate([p.uv_faces + start for p, start in zip(parts, first_uv, strict=False)]),
        np.concatenate([part.uv for part in parts]),
        np.concatenate([part.source_uv for part in parts]),
    )
