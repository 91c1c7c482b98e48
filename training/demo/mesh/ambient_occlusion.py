"""Ambient occlusion per vertex, from depth maps of many directions in the rest pose of speech."""

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
SIDE = 700  # pixels per side of a depth map
SLACK = 0.07  # decimetres of depth tolerance
DARKEST = 0.15
INSIDE = {"eyes": 0.85, "teeth": 0.42, "tongue": 0.45}  # fixed values, as with open lids and lips


def sky_openness(body: Body, assembly: Assembly, joints: Indices, weights: Points) -> Points:
    """Openness of each vertex, [V], DARKEST to 1, with the hands at rest.

    joints, weights: [V, K], for skinning.
    """
    at = _at_rest(body, assembly, joints, weights)
    normals = vertex_normals(at, assembly.faces)
    visible, possible = np.zeros(len(at)), np.zeros(len(at))
    faces = torch.from_numpy(assembly.faces)
    weld = _weld(assembly)
    for direction in _directions():
        towards = np.maximum(normals @ direction, 0)
        visible += towards * _visible_from(direction, at, faces)
        possible += towards
    visible, possible = weld @ visible, weld @ possible
    openness = DARKEST + (1 - DARKEST) * np.clip(visible / np.maximum(possible, 1e-6), 0, 1)
    for name, value in INSIDE.items():
        openness[assembly.mask(name)] = value
    return _smoothed(openness, assembly.faces, weld)


def _weld(assembly: Assembly) -> Mix:
    """Matrix [V, V] that averages values over vertices at the same position."""
    positions = np.round(assembly.template, 5)
    _, index = np.unique(positions, axis=0, return_inverse=True)
    count = len(positions)
    at = sparse.csr_matrix((np.ones(count), (np.arange(count), index.ravel())))
    members = np.asarray(at.sum(0)).ravel()
    return at @ sparse.diags(1 / members) @ at.T


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
    """Unit vectors spread evenly over the sphere by the golden angle, [DIRECTIONS, 3]."""
    index = np.arange(DIRECTIONS) + 0.5
    down = np.arccos(1 - 2 * index / DIRECTIONS)
    turn = np.pi * (1 + 5**0.5) * index
    around = np.sin(down)
    return np.stack([np.cos(turn) * around, np.cos(down), np.sin(turn) * around], axis=1)


def _visible_from(direction: Points, at: Points, faces: torch.Tensor) -> Points:
    """Visibility of each vertex from far away in a direction, [V], 1 when nothing is between."""
    across = unit(np.cross(direction, [0.0, 1.0, 0.01]))
    view = np.stack([at @ across, at @ np.cross(across, direction), -(at @ direction)], axis=1)
    low, high = view.min(0), view.max(0)
    scale = 1.98 / max(high[0] - low[0], high[1] - low[1])
    plane = (view[:, :2] - (low[:2] + high[:2]) / 2) * scale
    depth = view[:, 2] - low[2] + 1.0
    # The rasteriser is perspective; at a large depth the projection is practically parallel.
    points = np.concatenate([plane, depth[:, None] + 1000], axis=1)
    raster = rasterise(torch.from_numpy(points).float()[None], faces, height=SIDE, width=SIDE)
    pixel = (SIDE / 2 - plane * SIDE / 2).astype(np.int64).clip(0, SIDE - 1)
    nearest = raster.depth[0].numpy()[pixel[:, 1], pixel[:, 0]].astype(np.float64)
    return np.asarray(depth + 1000 < nearest + SLACK, dtype=np.float64)


def _smoothed(openness: Points, faces: Indices, weld: Mix) -> Points:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = len(openness)
    links = sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    links = links + links.T
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    for _ in range(3):
        openness = weld @ (0.5 * openness + 0.5 * (links @ openness) / degree)
    return openness
