"""Clothes of a person: shells of the base mesh, inflated, cut and folded at the rims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.demo.mesh.geometry import (
    Piece,
    clip,
    moved,
    place_islands,
    smooth_normals,
    smoothing,
    subdivide,
    take_piece,
    thicken_rims,
    vertex_normals,
)
from training.demo.mesh.skeleton import SIDES, unit

if TYPE_CHECKING:
    from training.demo.mesh.geometry import Points
    from training.demo.mesh.head import Body

COLLAR_SLOPE = 0.16  # the collar is higher at the back than in front


def collar_height(body: Body, at: Points) -> Points:
    """Height above the collar line in decimetres, [V]."""
    neck = body.rig.heads["neck01"]
    return np.asarray(
        at[:, 1] - neck[1] - body.looks.clothes.collar - COLLAR_SLOPE * (neck[2] - at[:, 2])
    )


def _arm(at: Points) -> Points:
    return np.clip((np.abs(at[:, 0]) - 1.6) / 1.2, 0, 1)


def _place_cloth(u: float, v: float) -> tuple[tuple[float, float], tuple[float, float], float]:
    return (0.80, 0.88), (0.52, 0.49), 3.85


def build_sweater(body: Body) -> Piece:
    """Build a close-fitting sweater with soft folds at the elbows and the waist."""
    shell = subdivide(take_piece(body.mesh, body.group("helper-tights")), 3)
    at = shell.positions(body.shape)
    waist = 0.05 * np.exp(-(((at[:, 1] - 1.2) / 1.5) ** 2)) * (1 - _arm(at))
    thick = 0.055 + waist + 0.012 * _arm(at)
    sweater = moved(shell, smooth_normals(at, shell.faces, 4) * thick[:, None] + _drape(shell, at))
    below_collar = np.where(np.abs(at[:, 0]) > 1.3, 1.0, -collar_height(body, at))
    sweater = clip(sweater, np.minimum(below_collar, at[:, 1] + 0.55))
    sweater = moved(sweater, _folds(body, sweater))
    sweater = thicken_rims(sweater, body.shape, body.looks.clothes.fold, towards_middle=True)
    return place_islands(sweater, _place_cloth)


def _drape(shell: Piece, at: Points) -> Points:
    """Displacement [V, 3] with which the wool spans the hollows of the chest."""
    chest = np.exp(-((at[:, 1] - 3.5) ** 2)) * np.clip((1.75 - np.abs(at[:, 0])) / 0.5, 0, 1)
    once, smooth = smoothing(shell.faces, len(at), 1), at
    for _ in range(60):  # the product of all 60 matrices would be dense
        smooth = once @ smooth
    return np.asarray((smooth - at) * (chest * (at[:, 2] > 0.2))[:, None])


def _folds(body: Body, sweater: Piece) -> Points:
    at = sweater.positions(body.shape)
    normals = vertex_normals(at, sweater.faces)
    height = np.zeros(len(at))
    for side in SIDES:
        sign = 1 if side == "L" else -1
        elbow, wrist = body.rig.heads[f"lowerarm01.{side}"], body.rig.heads[f"wrist.{side}"]
        along = (at - elbow) @ unit(wrist - body.rig.heads[f"upperarm01.{side}"])
        near = np.exp(-((along / 0.9) ** 2)) * (at[:, 0] * sign > 1.5)
        phase = along * 6.5 + 1.3 * np.sin(4 * at[:, 2] + sign) + 1.1 * np.sin(2.5 * at[:, 1])
        height += 0.03 * np.sin(phase) * near
    waist = np.exp(-(((at[:, 1] - 0.6) / 0.8) ** 2)) * (1 - _arm(at))
    wave = 1.6 * np.sin(2.2 * at[:, 0] + 0.7) + 1.2 * np.sin(3 * at[:, 2])
    height += 0.03 * np.sin(5.2 * at[:, 1] + wave) * waist
    return normals * height[:, None]


def build_trousers(body: Body) -> Piece:
    """Build trousers from below the sweater down to the feet."""
    shell = subdivide(take_piece(body.mesh, body.group("helper-tights")), 3)
    at = shell.positions(body.shape)
    trousers = moved(shell, smooth_normals(at, shell.faces, 4) * 0.03)
    trousers = clip(trousers, -0.2 - at[:, 1])
    trousers = thicken_rims(trousers, body.shape, 0.05, towards_middle=True)
    return place_islands(trousers, _place_cloth)
