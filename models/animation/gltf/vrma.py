"""A take as VRM animation: rotations of humanoid bones since the T-pose, expressions, gaze.

Any VRM avatar can be driven by it. Joints between two bones are merged into the bone above. The
bone upperChest is left out, because many avatars have none and would lose its rotation. Source:
VRMC_vrm_animation 1.0. Letters: N frames of a piece, H bones, E expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.gltf.document import Track, frame_seconds, new_document
from models.animation.gltf.expressions import preset_weights, presets
from models.animation.humanoid import names_of_joint, parent_bone, retarget_names
from models.animation.quaternions import continuous, inverse, multiply
from models.animation.t_pose import bone_turns, t_pose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.figure import Figure
    from models.animation.gltf.document import Document, Slot
    from models.animation.rows import MotionRows
    from models.animation.t_pose import TPose

    Floats = NDArray[np.floating[Any]]

EXTENSION = "VRMC_vrm_animation"
LEFT_OUT = ("upperChest", "leftEye", "rightEye")  # eyes follow the gaze


def write_vrma(path: Path, figure: Figure, rows: MotionRows, *, title: str = "take") -> None:
    """Write a take. Raises: AnimationError: when the skeleton lacks a bone that VRM needs."""
    rest = t_pose(figure)
    bones = {bone: joint for bone, joint in rest.bones.items() if bone not in LEFT_OUT}
    document = new_document({"person": figure.name, "frameRate": rows.frame_rate}, (EXTENSION,))
    nodes = _bone_nodes(document, rest, bones, retarget_names(figure.joint_names))
    preset, custom = _expression_nodes(document, figure)
    extension: dict[str, Any] = {
        "specVersion": "1.0",
        "humanoid": {"humanBones": {bone: {"node": node} for bone, node in nodes.items()}},
    }
    if preset or custom:
        extension["expressions"] = {
            "preset": {name: {"node": node} for name, node in preset.items()},
            "custom": {name: {"node": node} for name, node in custom.items()},
        }
    eyes = [rest.bones[eye] for eye in LEFT_OUT[1:] if eye in rest.bones]
    gaze = _gaze_node(document, rest, eyes, nodes["head"]) if eyes else None
    if gaze is not None:
        offset = document.members["nodes"][gaze]["translation"]
        extension["lookAt"] = {"node": gaze, "offsetFromHeadBone": offset}
    document.members["extensions"] = {EXTENSION: extension}
    document.add("scenes", {"nodes": [nodes["hips"], *preset.values(), *custom.values()]})
    document.members["scene"] = 0
    track = Track(document)
    times = track.times(frame_seconds(rows.frames, rows.frame_rate))
    hips = track.slot(nodes["hips"], "translation", 3, times)
    turning = [track.slot(node, "rotation", 4, times) for node in nodes.values()]
    looking = None if gaze is None else track.slot(gaze, "rotation", 4, times)
    faces = [
        track.slot(node, "translation", 3, times) for node in (*preset.values(), *custom.values())
    ]
    track.finish(title)
    before: Floats | None = None
    with document.begin(path) as file:
        for piece in rows.pieces():
            turns, position = bone_turns(figure, piece.pose, rest, bones)
            turns = continuous(turns, before)
            before = turns[-1]
            file.put(hips, piece.start, position)
            for number, slot in enumerate(turning):
                file.put(slot, piece.start, turns[:, number])
            if looking is not None:
                file.put(looking, piece.start, gaze_turns(figure, piece.pose, rest, eyes))
            if figure.unit_weights is not None:
                units = figure.unit_weights(piece.face)
                weights = np.concatenate([preset_weights(figure.unit_names, units), units], axis=1)
                _put_weights(file.put, faces, piece.start, weights)


def gaze_turns(figure: Figure, pose: Floats, rest: TPose, eyes: list[int]) -> Floats:
    """Mean rotation of the eyes in the head since the rest pose: pose [N, P] -> [N, 4]."""
    states = figure.world_states(pose)
    back = inverse(multiply(rest.turns, figure.rest_world[:, 3:7]))
    since = multiply(states[..., 3:7], back)
    head = inverse(since[:, rest.bones["head"]])
    total = sum((multiply(head, since[:, eye]) for eye in eyes), start=np.zeros((len(pose), 4)))
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return continuous(total / np.maximum(length, 1e-9), None)


def _bone_nodes(
    document: Document,
    rest: TPose,
    bones: Mapping[str, int],
    names: Mapping[str, Sequence[str]],  # in other rigs
) -> dict[str, int]:
    nodes: dict[str, int] = {}
    for bone, joint in bones.items():
        parent = parent_bone(bone, bones)
        origin = rest.positions[bones[parent]] if parent is not None else np.zeros(3)
        at = (rest.positions[joint] - origin).tolist()
        node = {"name": bone, "translation": at, "extras": names_of_joint(names, joint)}
        nodes[bone] = document.add("nodes", node)
        if parent is not None:
            entries = document.members["nodes"]
            entries[nodes[parent]].setdefault("children", []).append(nodes[bone])
    return nodes


def _expression_nodes(document: Document, figure: Figure) -> tuple[dict[str, int], dict[str, int]]:
    return (
        {name: document.add("nodes", {"name": name}) for name in presets(figure.unit_names)},
        {name: document.add("nodes", {"name": name}) for name in figure.unit_names},
    )


def _gaze_node(document: Document, rest: TPose, eyes: list[int], head: int) -> int:
    middle = rest.positions[eyes].mean(0) - rest.positions[rest.bones["head"]]
    node = document.add("nodes", {"name": "lookAt", "translation": middle.tolist()})
    document.members["nodes"][head].setdefault("children", []).append(node)
    return node


def _put_weights(put: Any, faces: list[Slot], start: int, weights: Floats) -> None:
    for number, slot in enumerate(faces):
        row = np.zeros((len(weights), 3))
        row[:, 0] = weights[:, number]
        put(slot, start, row)
