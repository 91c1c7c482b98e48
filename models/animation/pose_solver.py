"""Pose parameters from a BVH file, for motion that was edited in another tool.

The channels of the joints are linear in the parameters, so they are solved by least squares. Each
rotation has two triples of Euler angles; the one that the solution of the step before predicts is
taken. Letters: T frames, J joints, P pose parameters, R rows of the linear system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.bvh import bvh_values, joint_labels, moved_joints
from models.animation.figure import AnimationError
from models.animation.quaternions import (
    IDENTITY,
    TURN,
    euler,
    from_euler,
    inverse,
    multiply,
    rotate,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.bvh import BvhMotion
    from models.animation.figure import Figure

    Floats = NDArray[np.floating[Any]]

STEPS = 4
SCALE_TOLERANCE = 0.02  # of the distance of a joint from its parent
FRAME_RATE = 30


@dataclass(frozen=True)
class SolvedPose:
    """Pose parameters, and the part of the file's motion that they cannot express."""

    pose: Floats  # [T, P]
    error: float  # rad, largest difference of a joint's rotation


def solve_pose(figure: Figure, motion: BvhMotion, path: Path) -> SolvedPose:
    """Find the parameters of a BVH motion.

    Raises: AnimationError: when joints are missing, or scale or frame rate are others.
    """
    joints = _matched(figure, motion, path)
    rotations, positions = motion.rotations[:, joints], motion.positions[:, joints]
    local = _local_rotations(figure, rotations)
    angles = _angles(figure, local)
    system, known = _system(figure)
    inverse_system = np.linalg.pinv(system)
    more = _other_rows(figure, positions)
    count = 3 * len(figure.parents)
    pose = (np.concatenate([angles.reshape(len(angles), -1), more], 1) - known) @ inverse_system.T
    for _ in range(STEPS):
        predicted = (pose @ system[:count].T + known[:count]).reshape(angles.shape)
        angles = _nearest(angles, predicted)
        rows = np.concatenate([angles.reshape(len(angles), -1), more], axis=1)
        pose = (rows - known) @ inverse_system.T
    found = from_euler(bvh_values(figure, pose)[1], "ZXY")
    cosine = np.abs((found * rotations).sum(-1)).clip(0, 1)
    return SolvedPose(pose.astype(np.float32), float(2 * np.arccos(cosine).max()))


def _matched(figure: Figure, motion: BvhMotion, path: Path) -> list[int]:
    """Joint of the file for each joint of the person."""
    labels = joint_labels(figure.joint_names)
    if missing := [label for label in labels if label not in motion.names]:
        raise AnimationError(
            f"{path}: no joint {missing[0]}, which {figure.name} has; export the whole skeleton"
        )
    joints = [motion.names.index(label) for label in labels]
    if abs(motion.frame_rate - FRAME_RATE) > 0.01:
        raise AnimationError(
            f"{path}: {motion.frame_rate:g} frames a second; export it with {FRAME_RATE}"
        )
    rest = figure.rest_world[:, :3]
    for joint, parent in enumerate(figure.parents):
        if parent >= 0:
            ours = np.linalg.norm(rest[joint] - rest[parent])
            theirs = np.linalg.norm(motion.offsets[joints[joint]])
            if abs(ours - theirs) > SCALE_TOLERANCE * ours + 1e-3:
                raise AnimationError(
                    f"{path}: {labels[joint]} is {100 * theirs:.2f} cm from its parent, not "
                    f"{100 * ours:.2f}; export it in centimetres, with the skeleton unchanged"
                )
    return joints


def _local_rotations(figure: Figure, turns: Floats) -> Floats:
    """Rotations of joints in their own axes after the rest rotation, [T, J, 4]."""
    rest, own = figure.rest_world[:, 3:7], figure.skeleton.rotations.numpy()
    own = own / np.linalg.norm(own, axis=-1, keepdims=True)
    world = np.empty_like(turns)
    result = np.empty_like(turns)
    for joint, parent in enumerate(figure.parents):
        above = world[:, parent] if parent >= 0 else IDENTITY
        world[:, joint] = multiply(above, turns[:, joint])
        start = multiply(above, rest[parent]) if parent >= 0 else IDENTITY
        now = multiply(world[:, joint], rest[joint])
        result[:, joint] = multiply(inverse(multiply(start, own[joint])), now)
    return result


def _angles(figure: Figure, local: Floats) -> Floats:
    """Euler angles about x, y and z (R = Rz Ry Rx), [T, J, 3]."""
    return np.asarray(euler(local, "ZYX")[..., ::-1])


def _nearest(angles: Floats, predicted: Floats) -> Floats:
    """Equal rotations whose angles are nearest to the predicted ones."""
    other = angles + np.array([np.pi, 0.0, np.pi])
    other[..., 1] = np.pi - angles[..., 1]
    near, far = (each - TURN * np.round((each - predicted) / TURN) for each in (angles, other))
    nearer = np.abs(near - predicted).sum(-1) <= np.abs(far - predicted).sum(-1)
    return np.where(nearer[..., None], near, far)


def _system(figure: Figure) -> tuple[Floats, Floats]:
    """Linear system [R, P] and its constant part [R]: rotations, translations, scales.

    The rows are those of `_angles` and `_other_rows`.
    """
    transform = figure.skeleton.transform.numpy().reshape(len(figure.parents), 7, -1)
    fixed = transform[..., figure.pose_width :] @ np.array(figure.fixed, np.float64).reshape(-1)
    constant = fixed + figure.skeleton.transform_offsets.numpy().reshape(fixed.shape)
    moving = transform[..., : figure.pose_width]
    scales = np.zeros_like(moving[:, 6])
    for joint, parent in enumerate(figure.parents):
        if parent >= 0:
            scales[joint] = scales[parent] + moving[parent, 6]
    shifted, scaled = _position_rows(figure)
    rows = [moving[:, 3:6].reshape(-1, moving.shape[-1])]
    rows += [moving[shifted, :3].reshape(-1, moving.shape[-1]), scales[scaled]]
    known = [constant[:, 3:6].reshape(-1), constant[shifted, :3].reshape(-1)]
    return np.concatenate(rows), np.concatenate([*known, np.zeros(len(scaled))])


def _position_rows(figure: Figure) -> tuple[list[int], list[int]]:
    """Joints whose translation is a parameter, and joints that only scales above them move."""
    moved = np.flatnonzero(moved_joints(figure))
    own = [int(joint) for joint in moved if figure.driven[joint, :3].any()]
    others = [int(j) for j in moved if j not in own and figure.parents[j] >= 0]
    return own, others


def _other_rows(figure: Figure, positions: Floats) -> Floats:
    """Translations in units of the skeleton, and exponents of scales, [T, R - 3 J]."""
    shifted, scaled = _position_rows(figure)
    rest, offsets = figure.rest_world, figure.skeleton.offsets.numpy()
    columns = []
    for joint in shifted:
        parent, at = figure.parents[joint], positions[:, joint]
        if parent >= 0:
            at = rotate(inverse(rest[parent, 3:7]), at) / rest[parent, 7]
        else:
            at = at - figure.lift
        columns.append(at / figure.metres - offsets[joint])
    for joint in scaled:
        start = np.linalg.norm(rest[joint, :3] - rest[figure.parents[joint], :3])
        length = np.linalg.norm(positions[:, joint], axis=-1, keepdims=True)
        columns.append(np.log2(np.maximum(length, 1e-9) / max(start, 1e-9)))
    return np.concatenate(columns, axis=1) if columns else positions[:, 0, :0]
