"""How much of the sky each vertex sees: depth maps from many sides, in a talking rest pose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sparse
import torch

from models.avatar.mesh.skinning import joint_matrices, skin
from models.avatar.raster.rasterise import rasterise
from training.demo.mesh.geometry import vertex_normals
from training.demo.mesh.skeleton import unit
from training.demo.pose_keys import POSES

if TYPE_CHECKING:
    from training.demo.mesh.assembly import Assembly
    from training.demo.mesh.geometry import Indices, Mix, Points
    from training.demo.mesh.head import Body

DIRECTIONS = 160
SIDE = 700  # of a depth map, pixels
SLACK = 0.07  # decimetres that a vertex may lie behind what is seen
DARKEST = 0.15
INSIDE = {"eyes": 0.85, "teeth": 0.42, "tongue": 0.45}  # as if the lids and lips were open


def sky_openness(body: Body, assembly: Assembly, joints: Indices, weights: Points) -> Points:
    """[V], DARKEST to 1: joints and weights [V, K] pose the person with her hands at rest."""
    at = _at_rest(body, assembly, joints, weights)
    normals = vertex_normals(at, assembly.faces)
    seen, possible = np.zeros(len(at)), np.zeros(len(at))
    faces = torch.from_numpy(assembly.faces)
    weld = _weld(assembly)
    for direction in _directions():
        towards = np.maximum(normals @ direction, 0)
        seen += towards * _lit_from(direction, at, faces)
        possible += towards
    seen, possible = weld @ seen, weld @ possible
    openness = DARKEST + (1 - DARKEST) * np.clip(seen / np.maximum(possible, 1e-6), 0, 1)
    for name, value in INSIDE.items():
        openness[assembly.of(name)] = value
    return _softened(openness, assembly.faces, weld)


def _weld(assembly: Assembly) -> Mix:
    """The matrix [V, V] that gives vertices at one place what they have together."""
    places = np.round(assembly.template, 5)
    _, place = np.unique(places, axis=0, return_inverse=True)
    count = len(places)
    at = sparse.csr_matrix((np.ones(count), (np.arange(count), place.ravel())))
    together = np.asarray(at.sum(0)).ravel()
    return at @ sparse.diags(1 / together) @ at.T


def _at_rest(body: Body, assembly: Assembly, joints: Indices, weights: Points) -> Points:
    keys = json.loads(POSES.read_text(encoding="utf-8"))
    pose = torch.zeros(1, len(body.rig.parameter_names), dtype=torch.float64)
    for name, value in (keys["rest_L"] | keys["rest_R"]).items():
        pose[0, body.rig.parameter_names.index(name)] = value
    matrices = joint_matrices(body.rig.skeleton, pose)
    rest = torch.from_numpy(assembly.template)[None]
    posed = skin(rest, torch.from_numpy(weights), torch.from_numpy(joints.copy()), matrices)
    return np.asarray(posed[0].numpy())


def _directions() -> Points:
    """Evenly over the sphere, by the golden angle, [DIRECTIONS, 3]."""
    index = np.arange(DIRECTIONS) + 0.5
    down = np.arccos(1 - 2 * index / DIRECTIONS)
    turn = np.pi * (1 + 5**0.5) * index
    around = np.sin(down)
    return np.stack([np.cos(turn) * around, np.cos(down), np.sin(turn) * around], axis=1)


def _lit_from(direction: Points, at: Points, faces: torch.Tensor) -> Points:
    """[V] is nothing between a vertex and the far end of the direction?"""
    across = unit(np.cross(direction, [0.0, 1.0, 0.01]))
    view = np.stack([at @ across, at @ np.cross(across, direction), -(at @ direction)], axis=1)
    low, high = view.min(0), view.max(0)
    scale = 1.98 / max(high[0] - low[0], high[1] - low[1])
    plane = (view[:, :2] - (low[:2] + high[:2]) / 2) * scale
    depth = view[:, 2] - low[2] + 1.0
    # Depth for perspective: far enough away, the picture is as good as parallel.
    points = np.concatenate([plane, depth[:, None] + 1000], axis=1)
    raster = rasterise(torch.from_numpy(points).float()[None], faces, height=SIDE, width=SIDE)
    pixel = (SIDE / 2 - plane * SIDE / 2).astype(np.int64).clip(0, SIDE - 1)
    nearest = raster.depth[0].numpy()[pixel[:, 1], pixel[:, 0]].astype(np.float64)
    return np.asarray(depth + 1000 < nearest + SLACK, dtype=np.float64)


def _softened(openness: Points, faces: Indices, weld: Mix) -> Points:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = len(openness)
    links = sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    links = links + links.T
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    for _ in range(3):
        openness = weld @ (0.5 * openness + 0.5 * (links @ openness) / degree)
    return openness
