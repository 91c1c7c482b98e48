"""Skin, eyes, teeth and tongue of a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sparse
from scipy.spatial import cKDTree

from training.demo.mesh.geometry import Piece, moved, place_islands, take_piece, triangulate

if TYPE_CHECKING:
    from training.demo.mesh.assets import BaseMesh
    from training.demo.mesh.geometry import Points
    from training.demo.mesh.looks import Looks
    from training.demo.mesh.skeleton import Rig

TEETH = 11.0  # angular frequency of the teeth along half an arch
SKIN_VERTICES = 13_380  # vertices of the body in the base mesh; the shells follow


@dataclass(frozen=True)
class Body:
    """Base mesh in the shape of the person, with its rig; all parts are cut from it."""

    mesh: BaseMesh
    shape: Points  # [N, 3]
    rig: Rig
    looks: Looks

    def face_weight(self, *prefixes: str) -> Points:
        """Skin weight of each face on the bones with these name prefixes, [F]."""
        return np.asarray(self.rig.weight_of(*prefixes)[self.mesh.quads].mean(1))

    def group(self, *names: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Mask of the faces in the named groups, [F]."""
        return np.isin(self.mesh.groups, names)


def build_skin(body: Body) -> Piece:
    """Build the visible skin: head, neck and hands."""
    centre = body.shape[body.mesh.quads].mean(1)
    neck = body.face_weight("head", "neck0") > 0.02
    hands = body.face_weight("wrist", "finger", "metacarpal", "lowerarm02") > 0.3
    throat = (centre[:, 1] > 4.95) & (np.abs(centre[:, 0]) < 1.4)
    skin = take_piece(body.mesh, body.group("body") & (neck | hands | throat))
    return triangulate(place_islands(skin, _place_skin))


def _place_skin(u: float, v: float) -> tuple[tuple[float, float], tuple[float, float], float]:
    if u > 0.66 and v > 0.25:  # the head
        return (0.635, 0.14), (0.005, 0.01), 1.38
    if u > 0.78:  # inside the mouth
        return (0.757, 0.0), (0.52, 0.20), 0.4
    if v < 0.25:  # the hands
        return ((0.355, 0.0), (0.52, 0.26), 1.0) if u < 0.57 else ((0.565, 0.0), (0.74, 0.26), 1.0)
    if v > 0.7:
        return (0.0, 0.70), (0.52, 0.02), 0.55
    return (0.005, 0.54), (0.80, 0.195), 0.4


def build_eyes(body: Body) -> Piece:
    """Build both eyeballs."""
    eyes = take_piece(body.mesh, body.group("helper-l-eye", "helper-r-eye"))
    return triangulate(place_islands(eyes, lambda u, v: ((0.755, 0.925), (0.83, 0.60), 2.4)))


def build_tongue(body: Body) -> Piece:
    """Build the tongue, smaller and deeper than in the source, so that the teeth cover it."""
    tongue = take_piece(body.mesh, body.group("helper-tongue"))
    at = tongue.positions(body.shape)
    lower = -0.42 * (at[:, 1] - at[:, 1].min()) - 0.02
    inward = np.stack([-0.10 * at[:, 0], lower, np.full(len(at), -0.10)], axis=1)
    tongue = moved(tongue, inward)
    return triangulate(place_islands(tongue, lambda u, v: ((0.62, 0.92), (0.96, 0.49), 0.8)))


def build_teeth(body: Body) -> Piece:
    """Build two arches fitted to the strips of teeth of the source, which have 24 quads each."""
    upper = _arch(body, "helper-upper-teeth", 1)
    lower = _arch(body, "helper-lower-teeth", -1)
    count, uv_count = len(upper.offset), len(upper.uv)
    return Piece(
        sparse.vstack([upper.mix, lower.mix]).tocsr(),
        np.concatenate([upper.offset, lower.offset]),
        np.concatenate([upper.faces, lower.faces + count]),
        np.concatenate([upper.uv_faces, lower.uv_faces + uv_count]),
        np.concatenate([upper.uv, lower.uv]),
        np.concatenate([upper.source_uv, lower.source_uv]),
    )


def _arch(body: Body, group: str, up: int) -> Piece:
    strip = np.unique(body.mesh.quads[body.group(group)])
    along, across = (
        grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, 49), np.linspace(0, 1, 5))
    )
    at = _arch_positions(body.shape[strip], along, across, up)
    columns = np.arange(48)[None] + 49 * np.arange(4)[:, None]
    corner = columns.ravel()
    quads = np.stack([corner, corner + 1, corner + 50, corner + 49], axis=1)
    near = np.exp(-((at[:, None] - body.shape[strip][None]) ** 2).sum(-1) / 0.01)
    near /= near.sum(1, keepdims=True)
    rows, entries = np.repeat(np.arange(len(at)), len(strip)), np.tile(strip, len(at))
    mix = sparse.csr_matrix((near.ravel(), (rows, entries)), (len(at), len(body.shape)))
    row = 0.53 if up > 0 else 0.50
    uv = np.stack([0.84 + 0.10 * (along + 1) / 2, row + 0.02 * across], axis=1)
    piece = Piece(mix, at - mix @ body.shape, quads, quads.copy(), uv, uv.copy())
    return triangulate(piece)


def _arch_positions(strip: Points, along: Points, across: Points, up: int) -> Points:
    """Positions of a row of teeth: along [-1, 1] from side to side, across [0, 1] to the gum."""
    half_width = np.abs(strip[:, 0]).max() * 0.93
    front, back = strip[:, 2].max() - 0.035, strip[:, 2].min()
    middle = strip[np.abs(strip[:, 0]) < 0.06]
    edge = middle[:, 1].min() - 0.03 if up > 0 else middle[:, 1].max() - 0.045
    tooth = np.abs(np.sin(np.arcsin(np.clip(along, -1, 1)) * TEETH)) ** 0.4
    x = half_width * np.sin(along * np.pi / 2)
    z = front - (front - back) * (1 - np.cos(along * np.pi / 2))
    z = z - 0.02 * (1 - tooth) - 0.03 * across**2
    y = edge + up * 0.17 * across + up * 0.012 * (1 - tooth) * (across < 0.1)
    return np.stack([x, y, z], axis=1)


def lash_roots(body: Body) -> Points:
    """Roots of the eyelashes: lid vertices next to the lash cards of the source, [K, 3]."""
    cards = body.group("helper-l-eyelashes-2", "helper-r-eyelashes-2")
    lashes = body.shape[np.unique(body.mesh.quads[cards])]
    distance, nearest = map(np.asarray, cKDTree(body.shape[:SKIN_VERTICES]).query(lashes))
    roots = body.shape[:SKIN_VERTICES][np.unique(nearest[distance < 0.016])]
    return np.concatenate([_rim_of_lids(roots[roots[:, 0] * side > 0]) for side in (1, -1)])


def _rim_of_lids(roots: Points) -> Points:
    """Points around one eye, interpolated to a line without gaps."""
    off = roots[:, :2] - roots[:, :2].mean(0)
    ring = roots[np.argsort(np.arctan2(off[:, 1], off[:, 0]), kind="stable")]
    following = np.roll(ring, -1, axis=0)
    near = np.linalg.norm(following - ring, axis=1) < 0.15
    shares = np.linspace(0, 1, 12, endpoint=False)[:, None, None]
    return np.asarray((ring + shares * (following - ring))[:, near].reshape(-1, 3))
