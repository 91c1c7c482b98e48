"""Nodes, skin, mesh and material of a person in glTF.

Letters: J joints, V vertices of the mesh, W vertices of the file (one for each pair of vertex and
texture coordinate), K joints per vertex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.gltf.document import INDICES, VERTICES
from models.animation.gltf.png import png
from models.animation.humanoid import names_of_joint
from models.animation.quaternions import matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.animation.figure import Figure, Mesh
    from models.animation.gltf.document import Document

    Floats = NDArray[np.floating[Any]]
    Indices = NDArray[np.integer[Any]]

JOINTS = 4  # of a vertex: engines read one set; lighter weights are dropped
SMALLEST_MOVE = 1e-6  # metres
ROUGHNESS = 0.9


def add_joints(
    document: Document,
    figure: Figure,
    states: Floats,  # [J, 8] in the parents' frames
    names: Mapping[str, Sequence[str]],  # in other rigs
) -> list[int]:
    """Add a node for each joint, with its names in other rigs, and return them."""
    nodes = []
    for joint, state in enumerate(states):
        others = names_of_joint(names, joint)
        node = {"name": figure.joint_names[joint], **transform(state)}
        nodes.append(document.add("nodes", node | ({"extras": others} if others else {})))
    for joint, node_of_joint in enumerate(nodes):
        children = [nodes[c] for c, parent in enumerate(figure.parents) if parent == joint]
        if children:
            document.members["nodes"][node_of_joint]["children"] = children
    return nodes


def transform(state: Floats) -> dict[str, list[float]]:
    """Members of a node for a joint state [8]."""
    members = {
        "translation": _numbers(state[:3]),
        "rotation": _numbers(state[3:7]),
    }
    if abs(state[7] - 1) > 1e-9:
        members["scale"] = _numbers(np.repeat(state[7], 3))
    return members


def inverse_matrices(states: Floats) -> Floats:
    """Inverse matrices of joint states [J, 8], column by column as glTF stores them, [J, 16]."""
    forward = np.tile(np.eye(4), (len(states), 1, 1))
    forward[:, :3, :3] = matrix(states[:, 3:7]) * states[:, 7, None, None]
    forward[:, :3, 3] = states[:, :3]
    inverse = np.linalg.inv(forward)
    inverse[:, 3] = (0, 0, 0, 1)
    return np.asarray(inverse.transpose(0, 2, 1).reshape(len(states), 16))


def add_skin(document: Document, joints: Sequence[int], bind: Floats, root: int) -> int:
    """Add a skin; bind: joint states [J, 8] at which the mesh has its shape."""
    matrices = document.accessor(inverse_matrices(bind).astype("<f4"))
    skin = {"joints": list(joints), "inverseBindMatrices": matrices, "skeleton": root}
    return document.add("skins", skin)


def add_mesh(document: Document, mesh: Mesh, skin: int, *, unlit: bool) -> int:
    """Add mesh, material and texture, and return the node of the mesh.

    unlit: the texture contains the light.
    """
    source, uv, faces = split_seams(mesh)
    joints, weights = heaviest(mesh.skin_joints, mesh.skin_weights)
    positions = mesh.positions.astype("<f4")
    attributes = {
        "POSITION": document.accessor(positions[source], target=VERTICES, bounds=True),
        "NORMAL": document.accessor(
            vertex_normals(mesh.positions, mesh.faces)[source].astype("<f4"), target=VERTICES
        ),
        "TEXCOORD_0": document.accessor(uv.astype("<f4"), target=VERTICES),
        "JOINTS_0": document.accessor(joints[source].astype("<u2"), target=VERTICES),
        "WEIGHTS_0": document.accessor(weights[source].astype("<f4"), target=VERTICES),
    }
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": document.accessor(faces.astype("<u4").reshape(-1), target=INDICES),
        "material": _add_material(document, mesh, unlit=unlit),
    }
    entry: dict[str, Any] = {"name": "body", "primitives": [primitive]}
    if mesh.shapes:
        primitive["targets"] = [
            {"POSITION": _target(document, mesh, source, number)}
            for number in range(len(mesh.shapes))
        ]
        entry["weights"] = [0.0] * len(mesh.shapes)
        entry["extras"] = {"targetNames": [shape.name for shape in mesh.shapes]}
    node = {"name": "body", "mesh": document.add("meshes", entry), "skin": skin}
    return document.add("nodes", node)


def split_seams(mesh: Mesh) -> tuple[Indices, Floats, Indices]:
    """Vertices of the file: source vertex [W], texture coordinate [W, 2], and faces [F, 3]."""
    pairs = np.stack([mesh.faces, mesh.uv_faces], axis=-1).reshape(-1, 2)
    unique, corner = np.unique(pairs, axis=0, return_inverse=True)
    return unique[:, 0], mesh.uv[unique[:, 1]], corner.reshape(-1, 3)


def heaviest(joints: Indices, weights: Floats) -> tuple[Indices, Floats]:
    """Keep the heaviest joints of each vertex: [V, K] -> [V, 4], with sums of 1."""
    weights = _merged(joints, weights)
    missing = max(0, JOINTS - weights.shape[1])
    joints = np.pad(np.where(weights > 0, joints, 0), ((0, 0), (0, missing)))
    weights = np.pad(weights, ((0, 0), (0, missing)))
    order = np.argsort(-weights, axis=1, kind="stable")[:, :JOINTS]
    kept = np.take_along_axis(weights, order, axis=1).astype(np.float64)
    kept /= np.maximum(kept.sum(1, keepdims=True), 1e-9)
    chosen = np.take_along_axis(joints, order, axis=1)
    return np.where(kept > 0, chosen, 0), kept


def _merged(joints: Indices, weights: Floats) -> Floats:
    """Weights with those of repeated joints of a vertex added to the first one, [V, K]."""
    merged = weights.astype(np.float64)
    for later in range(1, joints.shape[1]):
        for first in range(later):
            same = joints[:, first] == joints[:, later]
            merged[same, first] += merged[same, later]
            merged[same, later] = 0
    return merged


def vertex_normals(positions: Floats, faces: Indices) -> Floats:
    """Unit normals of vertices [V, 3], weighted by the area of the faces around."""
    a, b, c = (positions[faces[:, corner]].astype(np.float64) for corner in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros((len(positions), 3))
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    up = np.array([0.0, 1.0, 0.0])
    return np.where(lengths > 1e-20, normals / np.maximum(lengths, 1e-20), up)


def _target(document: Document, mesh: Mesh, source: Indices, number: int) -> int:
    """Displacements of one shape, stored for the vertices that move."""
    shape = mesh.shapes[number]
    moves = np.zeros((len(mesh.positions), 3))
    moves[shape.vertices] = shape.moves
    moved = np.flatnonzero(np.abs(moves[source]).max(1) > SMALLEST_MOVE)
    moved = moved if len(moved) else np.array([0])
    return document.sparse(len(source), moved, moves[source[moved]].astype("<f4"))


def _add_material(document: Document, mesh: Mesh, *, unlit: bool) -> int:
    image = {
        "name": "skin",
        "mimeType": "image/png",
        "bufferView": document.view(png(mesh.texture)),
    }
    sampler = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
    texture = {
        "source": document.add("images", image),
        "sampler": document.add("samplers", sampler),
    }
    surface = {
        "baseColorTexture": {"index": document.add("textures", texture)},
        "metallicFactor": 0.0,
        "roughnessFactor": ROUGHNESS,
    }
    material: dict[str, Any] = {"name": "skin", "pbrMetallicRoughness": surface}
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
    return document.add("materials", material)


def _numbers(values: Floats) -> list[float]:
    return [float(value) for value in values]
