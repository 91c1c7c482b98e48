"""T-pose of a skeleton, and motion as rotations of humanoid bones since the T-pose.

Arms and fingers point sideways, legs down; trunk, head, thumbs and feet stay as in the rest pose.
Letters: N frames, J joints, H humanoid bones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.humanoid import BONE_PARENTS, parent_bone, required_bones
from models.animation.quaternions import IDENTITY, inverse, multiply, rotate, shortest_arc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.animation.figure import Figure

    Floats = NDArray[np.floating[Any]]

SIDEWAYS = ("UpperArm", "LowerArm", "Hand", "Proximal", "Intermediate")
DOWN = ("UpperLeg", "LowerLeg")
# The bone at the far end of each bone; the bones of the fingers and of limbs follow from parents.
NEXT = {"spine": "chest", "chest": "upperChest", "upperChest": "neck", "neck": "head"}
NEXT |= {f"{side}Hand": f"{side}MiddleProximal" for side in ("left", "right")}


@dataclass(frozen=True)
class TPose:
    """Joints of a person in the T-pose."""

    bones: Mapping[str, int]  # humanoid bone -> joint
    turns: Floats  # [J, 4] from the rest pose to the T-pose, in world axes
    positions: Floats  # [J, 3] metres


def t_pose(figure: Figure) -> TPose:
    """Compute the T-pose of a person. Raises: AnimationError: without humanoid joint names."""
    bones = required_bones(figure)
    rest, parents = figure.rest_world[:, :3], figure.parents
    bone_of = {joint: bone for bone, joint in bones.items()}
    turns, positions = np.tile(IDENTITY, (len(parents), 1)), rest.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            turns[joint] = turns[parent]
            positions[joint] = positions[parent] + rotate(turns[parent], rest[joint] - rest[parent])
        bone = bone_of.get(joint, "")
        far = next_bone(bone, bones)
        target = _direction(bone)
        if far is not None and target is not None:
            along = rotate(turns[joint], rest[bones[far]] - rest[joint])
            turns[joint] = multiply(shortest_arc(along, target), turns[joint])
        elif bone.endswith("Foot"):
            turns[joint] = IDENTITY
    return TPose(bones, turns, positions)


def next_bone(bone: str, present: Mapping[str, int]) -> str | None:
    """Bone at the far end of a bone, None for the last one of a chain."""
    far = NEXT.get(bone)
    while far is not None and far not in present:
        far = NEXT.get(far)
    if far is not None or bone == "hips" or bone in NEXT:
        return far
    below = [each for each, parent in BONE_PARENTS.items() if parent == bone and each in present]
    return below[0] if len(below) == 1 else None


def bone_turns(
    figure: Figure, pose: Floats, rest: TPose, bones: Mapping[str, int]
) -> tuple[Floats, Floats]:
    """Motion of some humanoid bones: pose [N, P] -> rotations [N, H, 4], hips [N, 3] metres.

    Rotations are since the T-pose, in the frame of the parent bone; all axes are world axes in the
    T-pose. A bone that stands for several joints points to the bone at its far end, with the twist
    of the last of these joints.
    """
    states = figure.world_states(pose)
    back = inverse(multiply(rest.turns, figure.rest_world[:, 3:7]))
    since = multiply(states[..., 3:7], back)  # [N, J, 4] in world axes
    world = {bone: _aimed(bone, states, since, rest, figure, bones) for bone in bones}
    local = [
        world[bone] if (parent := parent_bone(bone, bones)) is None
        else multiply(inverse(world[parent]), world[bone])
        for bone in bones
    ]  # fmt: skip
    return np.stack(local, axis=1), states[:, bones["hips"], :3]


def _aimed(
    bone: str,
    states: Floats,
    since: Floats,
    rest: TPose,
    figure: Figure,
    bones: Mapping[str, int],
) -> Floats:
    """Rotation of one bone since the T-pose, in world axes, [N, 4]."""
    joint, far = bones[bone], next_bone(bone, bones)
    if far is None:
        return np.asarray(since[:, joint])
    end = bones[far]
    turn = since[:, figure.parents[end]]
    along = rotate(turn, rest.positions[end] - rest.positions[joint])
    return multiply(shortest_arc(along, states[:, end, :3] - states[:, joint, :3]), turn)


def _direction(bone: str) -> Floats | None:
    """Direction of a bone in the T-pose, None for bones that stay as they are."""
    if bone.endswith(SIDEWAYS) and "Thumb" not in bone:
        return np.array([1.0 if bone.startswith("left") else -1.0, 0.0, 0.0])
    return np.array([0.0, -1.0, 0.0]) if bone.endswith(DOWN) else None
