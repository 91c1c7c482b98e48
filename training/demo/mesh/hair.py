"""Hair of the demo person: a shell over the scalp, combed back into a bun."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from training.demo.mesh import assets
from training.demo.mesh.geometry import (
    Piece,
    anchored,
    clip,
    moved,
    smooth_normals,
    smoothing,
    subdivide,
    take_piece,
    thicken_rims,
    triangulate,
)
from training.demo.mesh.head import SKIN_VERTICES
from training.demo.mesh.skeleton import unit

if TYPE_CHECKING:
    from training.demo.mesh.geometry import Points
    from training.demo.mesh.head import Body

# Height of the hairline above the eyes (decimetres) by the angle from straight ahead (radians).
LINE_ANGLE = (0, 0.25, 0.55, 0.8, 1.0, 1.15, 1.35, 1.6, 1.9, 2.3, np.pi)
LINE_HEIGHT = (0.80, 0.79, 0.70, 0.50, 0.22, 0.0, -0.06, -0.02, -0.35, -0.62, -0.72)
STRANDS = ((23, 0.5, 0.3), (41, 0.3, 1.7), (67, 0.25, 2.9), (11, 0.5, 0.8))  # count, height, phase
BUN_AXIS = (0.0, 0.10, -1.0)


@dataclass(frozen=True)
class Bun:
    """Position and axis of the bun."""

    centre: Points
    axis: Points

    def around(self, at: Points) -> tuple[Points, Points]:
        """Angle about the axis of the bun and distance from its centre, [V] each."""
        across = at - self.centre
        across = across - (across @ self.axis)[:, None] * self.axis
        first = unit(np.cross(self.axis, [1.0, 0.0, 0.0]))
        second = np.cross(self.axis, first)
        angle = np.arctan2(across @ second, across @ first)
        return angle, np.linalg.norm(at - self.centre, axis=1)


def place_bun(body: Body) -> Bun:
    """Place the bun at the back of the head, above the height of the eyes."""
    skin = body.shape[:SKIN_VERTICES]
    head = skin[body.rig.weight_of("head")[:SKIN_VERTICES] > 0.6]
    height = body.rig.heads["eye.L"][1] + 0.35
    return Bun(np.array([0, height, head[:, 2].min() - 0.10]), unit(np.array(BUN_AXIS)))


def above_hairline(body: Body, at: Points) -> tuple[Points, Points]:
    """Height above the hairline in decimetres and angle about the head, [V] each."""
    angle = np.arctan2(at[:, 0], at[:, 2] - 0.25)
    line = body.rig.heads["eye.L"][1] + np.interp(np.abs(angle), LINE_ANGLE, LINE_HEIGHT)
    return at[:, 1] - line, angle


def build_cap(body: Body, bun: Bun) -> Piece:
    """Build the hair on the scalp."""
    scalp = take_piece(body.mesh, body.group("body") & (body.face_weight("head") > 0.6))
    scalp = triangulate(subdivide(scalp, 1))
    height, angle = above_hairline(body, scalp.positions(body.shape))
    ragged = height + 0.035 * np.sin(9 * angle) * np.sin(3.7 * angle + 1)
    cap = clip(scalp, np.minimum(ragged, (0.12 - _ears(scalp)) * 2))
    cap = moved(cap, _strands(body, bun, cap))
    cap = thicken_rims(cap, body.shape, 0.03, towards_middle=False)
    return _comb(cap, bun, cap.positions(body.shape))


def _strands(body: Body, bun: Bun, cap: Piece) -> Points:
    """Displacement of the hair from the scalp: thin at the hairline, in ridges towards the bun."""
    at = cap.positions(body.shape)
    height = np.maximum(above_hairline(body, at)[0], 0)
    angle, distance = bun.around(at)
    wave = 0.6 * np.sin(2 * distance)
    ridges = sum(a * np.sin(n * angle + phase + wave) for n, a, phase in STRANDS)
    thick = 0.008 + 0.17 * (1 - np.exp(-height / 0.45))
    thick = thick + 0.011 * ridges * np.clip(height / 0.25, 0, 1)
    return smooth_normals(at, cap.faces, 12) * thick[:, None]


def _ears(scalp: Piece) -> Points:
    """Weight of the ears at each vertex, [V], from the mask of the source."""
    with Image.open(assets.data_folder() / assets.TEXTURES / "mpfb_ears.jpg") as image:
        mask = gaussian_filter(np.asarray(image.convert("L")).astype(float) / 255, 3)
    height, width = mask.shape
    where = [(1 - scalp.uv[:, 1]) * height, scalp.uv[:, 0] * width]
    on_uv = map_coordinates(mask, where, order=1, mode="nearest")
    ears = np.zeros(len(scalp.offset))
    np.maximum.at(ears, scalp.faces.ravel(), on_uv[scalp.uv_faces.ravel()])
    for _ in range(3):
        ears = np.maximum(ears, smoothing(scalp.faces, len(ears), 1) @ ears)
    return ears


def _comb(cap: Piece, bun: Bun, at: Points) -> Piece:
    """Map the texture so that one axis runs along the strands.

    Faces that wrap around the end of the map get separate texture coordinates.
    """
    angle, distance = bun.around(at)
    along = 0.835 + 0.16 * np.clip(distance / 3.2, 0, 1) * 0.62
    uv = list(np.stack([along, 0.70 + 0.25 * (angle / (2 * np.pi) + 0.5)], axis=1))
    faces = cap.faces.copy()
    for face in faces:
        around = np.array([uv[i][1] for i in face])
        if np.ptp(around) > 0.125:
            for corner in np.flatnonzero(around < 0.825):
                uv.append(np.array([uv[face[corner]][0], uv[face[corner]][1] + 0.25]))
                face[corner] = len(uv) - 1
    combed = np.minimum(np.array(uv), [1.0, 0.9985])
    return replace(cap, uv_faces=faces, uv=combed, source_uv=combed.copy())


def build_bun(body: Body, bun: Bun) -> Piece:
    """Build the bun, a wound ball behind the head."""
    turns, tilts = np.linspace(0, 2 * np.pi, 41), np.linspace(0.02, np.pi - 0.02, 29)
    turn, tilt = (grid.ravel() for grid in np.meshgrid(turns, tilts))
    radius = 1 + 0.05 * np.sin(9 * turn + 5 * tilt) + 0.04 * np.sin(17 * turn + 9 * tilt)
    first = unit(np.cross([0.0, 1.0, 0.0], bun.axis))
    second = np.cross(bun.axis, first)
    ball = (np.sin(tilt) * np.cos(turn))[:, None] * first * 0.46
    ball += (np.sin(tilt) * np.sin(turn))[:, None] * second * 0.46
    ball += np.cos(tilt)[:, None] * bun.axis * 0.34
    at = bun.centre + 0.10 * bun.axis + ball * radius[:, None]
    corner = (np.arange(28)[:, None] * 41 + np.arange(40)[None]).ravel()
    quads = np.stack([corner, corner + 41, corner + 42, corner + 1], axis=1)
    uv = np.stack([0.942 + 0.05 * tilt / np.pi, 0.70 + 0.25 * turn / (2 * np.pi)], axis=1)
    firm = body.rig.weight_of("head")[:SKIN_VERTICES] > 0.9
    top = int(np.argmax(body.shape[:SKIN_VERTICES, 1] * firm))
    return triangulate(anchored(len(body.shape), top, body.shape, at, quads, uv))
