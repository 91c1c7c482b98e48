"""Hair of a person: a shell over the scalp, combed towards a bun or a whorl."""

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
from training.demo.mesh.looks import LINE_ANGLE
from training.demo.mesh.skeleton import unit

if TYPE_CHECKING:
    from training.demo.mesh.geometry import Points
    from training.demo.mesh.head import Body


@dataclass(frozen=True)
class Whorl:
    """Point to which the strands run, and the axis of their turn."""

    centre: Points
    axis: Points

    def around(self, at: Points) -> tuple[Points, Points]:
        """Angle about the axis and distance from the centre, [V] each."""
        across = at - self.centre
        across = across - (across @ self.axis)[:, None] * self.axis
        first = unit(np.cross(self.axis, [1.0, 0.0, 0.0]))
        second = np.cross(self.axis, first)
        angle = np.arctan2(across @ second, across @ first)
        return angle, np.linalg.norm(at - self.centre, axis=1)


def place_whorl(body: Body) -> Whorl:
    """Place the bun or the whorl relative to the eyes and the back of the head."""
    above, behind = body.looks.hair.centre
    skin = body.shape[:SKIN_VERTICES]
    head = skin[body.rig.weight_of("head")[:SKIN_VERTICES] > 0.6]
    height = body.rig.heads["eye.L"][1] + above
    axis = unit(np.array(body.looks.hair.axis))
    return Whorl(np.array([0, height, head[:, 2].min() - behind]), axis)


def above_hairline(body: Body, at: Points) -> tuple[Points, Points]:
    """Height above the hairline in decimetres and angle about the head, [V] each."""
    angle = np.arctan2(at[:, 0], at[:, 2] - 0.25)
    line = body.rig.heads["eye.L"][1] + np.interp(np.abs(angle), LINE_ANGLE, body.looks.hair.line)
    return at[:, 1] - line, angle


def build_cap(body: Body, whorl: Whorl) -> Piece:
    """Build the hair on the scalp."""
    scalp = take_piece(body.mesh, body.group("body") & (body.face_weight("head") > 0.6))
    scalp = triangulate(subdivide(scalp, 1))
    height, angle = above_hairline(body, scalp.positions(body.shape))
    ragged = height + 0.035 * np.sin(9 * angle) * np.sin(3.7 * angle + 1)
    cap = clip(scalp, np.minimum(ragged, (0.12 - _ears(scalp)) * 2))
    cap = moved(cap, _strands(body, whorl, cap))
    cap = thicken_rims(cap, body.shape, 0.03, towards_middle=False)
    return _comb(cap, whorl, cap.positions(body.shape))


def _strands(body: Body, whorl: Whorl, cap: Piece) -> Points:
    """Displacement of the hair from the scalp: thin at its line, in ridges towards the whorl."""
    hair, at = body.looks.hair, cap.positions(body.shape)
    height = np.maximum(above_hairline(body, at)[0], 0)
    angle, distance = whorl.around(at)
    wave = 0.6 * np.sin(2 * distance)
    ridges = sum(a * np.sin(n * angle + phase + wave) for n, a, phase in hair.strands)
    thick = hair.thin + hair.thick * (1 - np.exp(-height / hair.rise))
    thick = thick + hair.ridge * ridges * np.clip(height / 0.25, 0, 1)
    thick = thick + hair.crest * _crest(body, at) * np.clip(height / 0.2, 0, 1)
    return smooth_normals(at, cap.faces, 12) * thick[:, None]


def _crest(body: Body, at: Points) -> Points:
    """Share of the hair on top of the head and at the forehead, [V], 0 to 1."""
    eye = body.rig.heads["eye.L"]
    above = np.clip((at[:, 1] - eye[1] - 0.55) / 0.55, 0, 1)
    ahead = np.clip((at[:, 2] - eye[2] + 1.5) / 1.2, 0, 1)
    return np.asarray(above * above * (3 - 2 * above) * (0.4 + 0.6 * ahead))


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


def _comb(cap: Piece, whorl: Whorl, at: Points) -> Piece:
    """Map the texture so that one axis runs along the strands.

    Faces that wrap around the end of the map get separate texture coordinates.
    """
    angle, distance = whorl.around(at)
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


def build_bun(body: Body, whorl: Whorl) -> Piece:
    """Build the bun, a wound ball behind the head."""
    turns, tilts = np.linspace(0, 2 * np.pi, 41), np.linspace(0.02, np.pi - 0.02, 29)
    turn, tilt = (grid.ravel() for grid in np.meshgrid(turns, tilts))
    radius = 1 + 0.05 * np.sin(9 * turn + 5 * tilt) + 0.04 * np.sin(17 * turn + 9 * tilt)
    first = unit(np.cross([0.0, 1.0, 0.0], whorl.axis))
    second = np.cross(whorl.axis, first)
    ball = (np.sin(tilt) * np.cos(turn))[:, None] * first * 0.46
    ball += (np.sin(tilt) * np.sin(turn))[:, None] * second * 0.46
    ball += np.cos(tilt)[:, None] * whorl.axis * 0.34
    at = whorl.centre + 0.10 * whorl.axis + ball * radius[:, None]
    corner = (np.arange(28)[:, None] * 41 + np.arange(40)[None]).ravel()
    quads = np.stack([corner, corner + 41, corner + 42, corner + 1], axis=1)
    uv = np.stack([0.942 + 0.05 * tilt / np.pi, 0.70 + 0.25 * turn / (2 * np.pi)], axis=1)
    firm = body.rig.weight_of("head")[:SKIN_VERTICES] > 0.9
    top = int(np.argmax(body.shape[:SKIN_VERTICES, 1] * firm))
    return triangulate(anchored(len(body.shape), top, body.shape, at, quads, uv))
