"""A person as VRM 1.0: the skinned mesh in the T-pose, humanoid bones, expressions, gaze.

Joints have the axes of the world. Source: VRMC_vrm 1.0. Letters: J joints, V vertices, K joints per
vertex.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.gltf.document import new_document
from models.animation.gltf.expressions import overrides, presets
from models.animation.gltf.skinned_mesh import (
    add_joints,
    add_mesh,
    add_skin,
    inverse_matrices,
)
from models.animation.humanoid import retarget_names
from models.animation.quaternions import IDENTITY, matrix, multiply
from models.animation.t_pose import t_pose

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.figure import Figure, Mesh
    from models.animation.t_pose import TPose

    Floats = NDArray[np.floating[Any]]

EXTENSION = "VRMC_vrm"
UNLIT = "KHR_materials_unlit"
LICENCE = "https://vrm.dev/licenses/1.0/"
OPEN = ("Apache-2.0", "CC0")  # beginnings of licences that allow every use
PERMISSIONS = {
    "avatarPermission": "everyone",
    "commercialUsage": "corporation",
    "allowRedistribution": True,
    "modification": "allowModificationRedistribution",
    "creditNotation": "required",
}
FULL = {"inputMaxValue": 90.0, "outputScale": 90.0}  # degrees: eyes turn as far as the gaze


def write_vrm(path: Path, figure: Figure, *, title: str, licence: str, author: str) -> None:
    """Write an avatar. Raises: AnimationError: when the skeleton lacks a bone that VRM needs."""
    rest = t_pose(figure)
    lit = bool(figure.unit_names)
    document = new_document({"person": figure.name}, (EXTENSION,) if lit else (EXTENSION, UNLIT))
    names = retarget_names(figure.joint_names)
    joints = add_joints(document, figure, _local_states(figure, rest), names)
    roots = [joints[joint] for joint, parent in enumerate(figure.parents) if parent < 0]
    skin = add_skin(document, joints, _states(rest), roots[0])
    node = add_mesh(document, posed_mesh(figure, rest), skin, unlit=not lit)
    document.add("scenes", {"nodes": [*roots, node]})
    document.members["scene"] = 0
    extension: dict[str, Any] = {
        "specVersion": "1.0",
        "meta": _meta(title, licence, author),
        "humanoid": {
            "humanBones": {bone: {"node": joints[joint]} for bone, joint in rest.bones.items()}
        },
    }
    if figure.unit_names:
        extension["expressions"] = _expressions(figure, node)
    if "leftEye" in rest.bones and "rightEye" in rest.bones:
        eyes = rest.positions[[rest.bones["leftEye"], rest.bones["rightEye"]]].mean(0)
        extension["lookAt"] = {
            "type": "bone",
            "offsetFromHeadBone": (eyes - rest.positions[rest.bones["head"]]).tolist(),
            "rangeMapHorizontalInner": FULL,
            "rangeMapHorizontalOuter": FULL,
            "rangeMapVerticalDown": FULL,
            "rangeMapVerticalUp": FULL,
        }
    document.members["extensions"] = {EXTENSION: extension}
    with document.begin(path):
        pass


def posed_mesh(figure: Figure, rest: TPose) -> Mesh:
    """Mesh and shapes in the T-pose."""
    mesh = figure.mesh
    forward = np.tile(np.eye(4), (len(figure.parents), 1, 1))
    turned = multiply(rest.turns, figure.rest_world[:, 3:7])
    forward[:, :3, :3] = matrix(turned) * figure.rest_world[:, 7, None, None]
    forward[:, :3, 3] = rest.positions
    back = inverse_matrices(figure.bind).reshape(-1, 4, 4).transpose(0, 2, 1)
    matrices = (forward @ back)[:, :3]  # [J, 3, 4]
    blended = np.zeros((len(mesh.positions), 3, 4))
    for weights, joints in zip(mesh.skin_weights.T, mesh.skin_joints.T, strict=True):
        blended += weights[:, None, None] * matrices[joints]
    positions = np.einsum("vij,vj->vi", blended[..., :3], mesh.positions) + blended[..., 3]
    shapes = tuple(
        replace(shape, moves=np.einsum("vij,vj->vi", blended[shape.vertices][..., :3], shape.moves))
        for shape in mesh.shapes
    )
    return replace(mesh, positions=positions, shapes=shapes)


def _states(rest: TPose) -> Floats:
    """World-space joint states of the T-pose with the axes of the world, [J, 8]."""
    count = len(rest.positions)
    return np.concatenate(
        [rest.positions, np.tile(IDENTITY, (count, 1)), np.ones((count, 1))], axis=1
    )


def _local_states(figure: Figure, rest: TPose) -> Floats:
    states = _states(rest)
    for joint, parent in enumerate(figure.parents):
        if parent >= 0:
            states[joint, :3] = rest.positions[joint] - rest.positions[parent]
    return states


def _meta(title: str, licence: str, author: str) -> dict[str, Any]:
    meta = {
        "name": title,
        "version": "1",
        "authors": [author],
        "copyrightInformation": licence,
        "licenseUrl": LICENCE,
    }
    return meta | (PERMISSIONS if licence.startswith(OPEN) else {})


def _expressions(figure: Figure, node: int) -> dict[str, Any]:
    def bind(index: int) -> dict[str, Any]:
        return {"node": node, "index": index, "weight": 1.0}

    return {
        "preset": {
            name: {"morphTargetBinds": [bind(place) for place in places]}
            for name, places in presets(figure.unit_names).items()
        },
        "custom": {
            name: {"morphTargetBinds": [bind(place)], **overrides(name)}
            for place, name in enumerate(figure.unit_names)
        },
    }
