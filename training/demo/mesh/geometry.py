"""Mesh operations for the parts of the demo person.

Each vertex of a part is a linear combination (mix) of base vertices plus an offset, so skin
weights and face units carry over to parts that are cut, subdivided or inflated.
Letters: N base vertices, V vertices of a part, F faces, M texture coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.demo.mesh.assets import BaseMesh

    Points = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Mix = Any  # a sparse matrix, [V, N]


@dataclass(frozen=True)
class Piece:
    """A part of the person. Faces are quads until `triangulate`."""

    mix: Mix  # [V, N]
    offset: Points  # [V, 3] decimetres, added to the mix
    faces: Indices  # [F, 4] or [F, 3]
    uv_faces: Indices  # like faces, indices into uv
    uv: Points  # [M, 2], v upwards
    source_uv: Points  # [M, 2] in the map of the base mesh

    def positions(self, base: Points) -> Points:
        """Vertex positions, [V, 3]."""
        return np.asarray(self.mix @ base + self.offset)

    def blended(self, mix: Mix) -> Piece:
        """Replace the vertices by linear combinations of them, mix [V, V]; faces stay the same."""
        return replace(self, mix=(mix @ self.mix).tocsr(), offset=mix @ self.offset)


def take_piece(base: BaseMesh, chosen: NDArray[np.bool_]) -> Piece:
    """Make a part of the chosen faces [F] of the base mesh."""
    faces, used = _compact(base.quads[chosen])
    uv_faces, uv_used = _compact(base.uv_quads[chosen])
    rows = np.arange(len(used))
    mix = sparse.csr_matrix((np.ones(len(used)), (rows, used)), (len(used), len(base.vertices)))
    uv = base.uv[uv_used]
    return Piece(mix, np.zeros((len(used), 3)), faces, uv_faces, uv, uv.copy())


def _compact(faces: Indices) -> tuple[Indices, Indices]:
    """Renumber faces to the vertices that they use; also return the old vertex indices."""
    used, inverse = np.unique(faces, return_inverse=True)
    return inverse.reshape(faces.shape), used


def edges(faces: Indices) -> Indices:
    """Directed edges of all faces, [F * corners, 2]."""
    corners = faces.shape[1]
    return np.concatenate([faces[:, [i, (i + 1) % corners]] for i in range(corners)])


def border(faces: Indices) -> Indices:
    """Edges that belong to a single face, [E, 2]."""
    directed = edges(faces)
    _, first, count = np.unique(
        np.sort(directed, axis=1), axis=0, return_index=True, return_counts=True
    )
    return np.asarray(directed[first[count == 1]])


def smoothing(faces: Indices, count: int, times: int, strength: float = 0.5) -> Mix:
    """Matrix [V, V] of Laplacian smoothing; border vertices move only along the border."""
    directed = edges(faces)
    directed = np.unique(np.concatenate([directed, directed[:, ::-1]]), axis=0)
    neighbours = _adjacency(directed, count)
    rim = border(faces)
    if len(rim):
        on_rim = np.zeros(count, bool)
        on_rim[rim.ravel()] = True
        along = _adjacency(np.concatenate([rim, rim[:, ::-1]]), count)
        neighbours = sparse.diags((~on_rim).astype(float)) @ neighbours + along
    degree = np.asarray(neighbours.sum(1)).ravel()
    mean = sparse.diags(1 / np.maximum(degree, 1e-9)) @ neighbours
    once = sparse.identity(count) * (1 - strength) + mean * strength
    result: Mix = sparse.identity(count, format="csr")
    for _ in range(times):
        result = once @ result
    return result


def _adjacency(pairs: Indices, count: int) -> Mix:
    """Sparse adjacency matrix [count, count] of index pairs."""
    return sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))


def subdivide(piece: Piece, smooth: int) -> Piece:
    """Split each quad into four, then smooth `smooth` times."""
    faces, mix = _split_quads(piece.faces, len(piece.offset))
    uv_faces, uv_mix = _split_quads(piece.uv_faces, len(piece.uv))
    mix = smoothing(faces, mix.shape[0], smooth) @ mix
    finer = replace(piece, faces=faces, uv_faces=uv_faces).blended(mix)
    return replace(finer, uv=uv_mix @ piece.uv, source_uv=uv_mix @ piece.source_uv)


def _split_quads(quads: Indices, count: int) -> tuple[Indices, Mix]:
    """Split quads [F, 4] -> [4 F, 4]; also return the new vertices as mixes of the old ones."""
    sides = np.concatenate([np.sort(quads[:, [i, (i + 1) % 4]], axis=1) for i in range(4)])
    unique, inverse = np.unique(sides, axis=0, return_inverse=True)
    middles = count + inverse.reshape(4, -1).T  # [F, 4] vertex in the middle of each side
    centres = count + len(unique) + np.arange(len(quads))
    finer = np.concatenate(
        [
            np.stack([quads[:, i], middles[:, i], centres, middles[:, (i + 3) % 4]], axis=1)
            for i in range(4)
        ]
    )
    rows = [np.arange(count), np.repeat(count + np.arange(len(unique)), 2), np.repeat(centres, 4)]
    columns = [np.arange(count), unique.ravel(), quads.ravel()]
    shares = [np.ones(count), np.full(2 * len(unique), 0.5), np.full(4 * len(quads), 0.25)]
    shape = (count + len(unique) + len(quads), count)
    entries = (np.concatenate(shares), (np.concatenate(rows), np.concatenate(columns)))
    return finer, sparse.csr_matrix(entries, shape)


def triangulate(piece: Piece) -> Piece:
    """Convert quads to triangles; a piece of triangles is returned unchanged."""
    if piece.faces.shape[1] == 3:
        return piece
    return replace(
        piece, faces=quads_to_triangles(piece.faces), uv_faces=quads_to_triangles(piece.uv_faces)
    )


def quads_to_triangles(quads: Indices) -> Indices:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def vertex_normals(positions: Points, faces: Indices) -> Points:
    """Area-weighted unit normals, [V, 3]."""
    if faces.shape[1] == 4:
        faces = quads_to_triangles(faces)
    a, b, c = (positions[faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros_like(positions)
    for i in range(3):
        np.add.at(normals, faces[:, i], across)
    return np.asarray(normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12))


def smooth_normals(positions: Points, faces: Indices, times: int) -> Points:
    """Smoothed normals for inflating a shell, [V, 3]."""
    normals = smoothing(faces, len(positions), times) @ vertex_normals(positions, faces)
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def moved(piece: Piece, by: Points) -> Piece:
    """Move the vertices by a displacement [V, 3]."""
    return replace(piece, offset=piece.offset + by)


def clip(piece: Piece, height: Points) -> Piece:
    """Keep the part with height [V] above zero; triangles across the border are cut."""
    piece = triangulate(piece)
    cutter = _Cutter(piece, height)
    for face, uv_face in zip(piece.faces, piece.uv_faces, strict=True):
        cutter.add(face, uv_face)
    return cutter.result()


class _Cutter:
    """Cuts triangles one by one and collects the new vertices."""

    def __init__(self, piece: Piece, height: Points) -> None:
        self.piece, self.height = piece, height
        self.vertex_of_edge: dict[tuple[int, int], int] = {}
        self.cuts: list[tuple[int, int, float]] = []
        self.uv = list(np.concatenate([piece.uv, piece.source_uv], axis=1))
        self.faces: list[list[int]] = []
        self.uv_faces: list[list[int]] = []

    def add(self, face: Indices, uv_face: Indices) -> None:
        inside = self.height[face] > 0
        corners: list[int] = []
        uv_corners: list[int] = []
        for i in range(3):
            j = (i + 1) % 3
            if inside[i]:
                corners.append(int(face[i]))
                uv_corners.append(int(uv_face[i]))
            if inside[i] != inside[j]:
                one, other = (i, j) if inside[i] else (j, i)
                corners.append(self._cut(int(face[one]), int(face[other])))
                uv_corners.append(self._cut_uv(face, uv_face, one, other))
        for i in range(1, len(corners) - 1):
            self.faces.append([corners[0], corners[i], corners[i + 1]])
            self.uv_faces.append([uv_corners[0], uv_corners[i], uv_corners[i + 1]])

    def _share(self, one: int, other: int) -> float:
        return float(self.height[one] / (self.height[one] - self.height[other]))

    def _cut(self, one: int, other: int) -> int:
        key = (min(one, other), max(one, other))
        if key not in self.vertex_of_edge:
            self.vertex_of_edge[key] = len(self.height) + len(self.cuts)
            self.cuts.append((one, other, self._share(one, other)))
        return self.vertex_of_edge[key]

    def _cut_uv(self, face: Indices, uv_face: Indices, one: int, other: int) -> int:
        share = self._share(int(face[one]), int(face[other]))
        self.uv.append(self.uv[uv_face[one]] * (1 - share) + self.uv[uv_face[other]] * share)
        return len(self.uv) - 1

    def result(self) -> Piece:
        count = len(self.height)
        rows = np.repeat(np.arange(len(self.cuts)), 2)
        columns = np.array([[one, other] for one, other, _ in self.cuts], dtype=np.int64).ravel()
        shares = np.array([[1 - share, share] for _, _, share in self.cuts]).ravel()
        added = sparse.csr_matrix((shares, (rows, columns)), (len(self.cuts), count))
        faces, used = _compact(np.array(self.faces))
        uv_faces, uv_used = _compact(np.array(self.uv_faces))
        uv = np.array(self.uv)[uv_used]
        combined: Mix = sparse.vstack([sparse.identity(count, format="csr"), added], format="csr")
        piece = replace(self.piece, faces=faces, uv_faces=uv_faces, uv=uv[:, :2])
        return replace(piece.blended(combined[used]), source_uv=uv[:, 2:])


def thicken_rims(piece: Piece, base: Points, inward: float, *, towards_middle: bool) -> Piece:
    """Fold every open border inwards, so that cloth and hair do not look like paper.

    The fold has separate vertices on the border, so shading shows an edge instead of a bend.
    """
    rim, positions = border(piece.faces), piece.positions(base)
    on_rim = np.unique(rim)
    outward = vertex_normals(positions, piece.faces)
    if towards_middle:
        outward = _from_the_middle(rim, on_rim, positions)
    outer = {int(vertex): len(positions) + i for i, vertex in enumerate(on_rim)}
    inner = {vertex: index + len(on_rim) for vertex, index in outer.items()}
    uv_edges = dict(
        zip(map(tuple, edges(piece.faces)), map(tuple, edges(piece.uv_faces)), strict=True)
    )
    faces, uv_faces = [piece.faces], [piece.uv_faces]
    for i, j in rim:
        ti, tj = uv_edges[i, j]
        faces.append(np.array([[outer[j], outer[i], inner[i]], [outer[j], inner[i], inner[j]]]))
        uv_faces.append(np.array([[tj, ti, ti], [tj, ti, tj]]))
    folded = piece.offset[on_rim] - outward[on_rim] * inward
    return replace(
        piece,
        mix=sparse.vstack([piece.mix, piece.mix[on_rim], piece.mix[on_rim]]).tocsr(),
        offset=np.concatenate([piece.offset, piece.offset[on_rim], folded]),
        faces=np.concatenate(faces),
        uv_faces=np.concatenate(uv_faces),
    )


def _from_the_middle(rim: Indices, on_rim: Indices, positions: Points) -> Points:
    """Unit vectors away from the middle of the border loop of each vertex."""
    outward = np.zeros_like(positions)
    _, labels = connected_components(_adjacency(rim, len(positions)), directed=False)
    for label in np.unique(labels[on_rim]):
        loop = on_rim[labels[on_rim] == label]
        away = positions[loop] - positions[loop].mean(0)
        outward[loop] = away / np.linalg.norm(away, axis=1, keepdims=True)
    return outward


def place_islands(piece: Piece, place: Callable[[float, float], tuple[Any, Any, float]]) -> Piece:
    """Move and scale each island of the texture map.

    place: (u, v) of the centre of an island -> (old corner, new corner, scale).
    """
    count = len(piece.uv)
    links = _adjacency(edges(piece.uv_faces), count)
    islands, labels = connected_components(links, directed=False)
    uv = piece.uv.copy()
    for island in range(islands):
        on = labels == island
        centre = (piece.uv[on].min(0) + piece.uv[on].max(0)) / 2
        origin, target, scale = place(float(centre[0]), float(centre[1]))
        uv[on] = np.array(target) + (piece.uv[on] - np.array(origin)) * scale
    return replace(piece, uv=uv)


def anchored(
    base_count: int, vertex: int, base: Points, positions: Points, quads: Indices, uv: Points
) -> Piece:
    """Make a part of given positions that follows a single base vertex."""
    count = len(positions)
    entries = (np.ones(count), (np.arange(count), np.full(count, vertex)))
    mix = sparse.csr_matrix(entries, (count, base_count))
    return Piece(mix, positions - base[vertex], quads, quads.copy(), uv, uv.copy())
