"""Momentum-style skeleton and linear blend skinning.

Letters: B frames, P pose parameters, J joints, V vertices, K joints per vertex (at most 8).
A joint has seven channels: tx ty tz rx ry rz sc. Quaternions are xyzw, Hamilton product, and are
not renormalised. Euler angles rotate about x first: R = Rz Ry Rx. A scale is 2^sc.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNELS = ("tx", "ty", "tz", "rx", "ry", "rz", "sc")


@dataclass(frozen=True)
class Skeleton:
    """Joints and the linear map from pose parameters to joint channels. Parents come first."""

    parents: tuple[int, ...]  # J, -1 for a root
    offsets: Tensor  # [J, 3] from the parent, in the parent's frame
    rotations: Tensor  # [J, 4] rest rotation, applied before the rotation of the pose
    transform: Tensor  # [J * 7, P] pose parameters -> channels
    transform_offsets: Tensor  # [J * 7]

    def __post_init__(self) -> None:
        joints = len(self.parents)
        if self.transform.shape[0] != joints * len(CHANNELS):
            raise ValueError(
                f"{joints} joints have {joints * len(CHANNELS)} channels, "
                f"the transform makes {self.transform.shape[0]}"
            )
        for joint, parent in enumerate(self.parents):
            if parent >= joint:
                raise ValueError(f"joint {joint} comes before its parent {parent}")

    @property
    def joints(self) -> int:
        return len(self.parents)

    @cached_property
    def levels(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Joints and their parents, grouped by depth below the roots."""
        depth: list[int] = []
        for parent in self.parents:
            depth.append(0 if parent < 0 else depth[parent] + 1)
        return tuple(
            (self._index(joints), self._index([self.parents[j] for j in joints]))
            for level in range(1, max(depth) + 1)
            if (joints := [j for j, d in enumerate(depth) if d == level])
        )

    @cached_property
    def inverse_bind(self) -> Tensor:
        """Inverse joint states of the bind pose (all parameters zero), [J, 8]."""
        zero = self.offsets.new_zeros(1, self.transform.shape[1])
        return inverse_states(joint_states(self, zero))[0]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Skeleton:
        """Copy to another device or dtype."""
        return Skeleton(
            self.parents,
            self.offsets.to(device, dtype),
            self.rotations.to(device, dtype),
            self.transform.to(device, dtype),
            self.transform_offsets.to(device, dtype),
        )

    def _index(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.offsets.device)


def quaternion_product(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product, the rotation by b followed by a: [..., 4] and [..., 4] -> [..., 4]."""
    ax, ay, az, aw = a.unbind(-1)
    bx, by, bz, bw = b.unbind(-1)
    return torch.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        dim=-1,
    )


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors by quaternions: [..., 4] and [..., 3] -> [..., 3]."""
    axis = q[..., :3].expand(v.shape)
    across = torch.linalg.cross(axis, v)
    return v + 2 * (q[..., 3:] * across + torch.linalg.cross(axis, across))


def euler_quaternion(angles: Tensor) -> Tensor:
    """Quaternions of Euler angles, radians about x, then y, then z: [..., 3] -> [..., 4]."""
    cx, cy, cz = torch.cos(angles / 2).unbind(-1)
    sx, sy, sz = torch.sin(angles / 2).unbind(-1)
    return torch.stack(
        [
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
            cx * cy * cz + sx * sy * sz,
        ],
        dim=-1,
    )


def quaternion_matrix(q: Tensor) -> Tensor:
    """Rotation matrices of quaternions: [..., 4] -> [..., 3, 3]."""
    x, y, z, w = q.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def joint_channels(skeleton: Skeleton, pose: Tensor) -> Tensor:
    """Joint channels of a pose: [B, P] -> [B, J, 7].

    Raises: ValueError: when the pose has the wrong number of parameters.
    """
    expected = skeleton.transform.shape[1]
    if pose.ndim != 2 or pose.shape[1] != expected:
        raise ValueError(f"pose must be [B, {expected}], got {list(pose.shape)}")
    channels = pose @ skeleton.transform.T + skeleton.transform_offsets  # [B, P] -> [B, J * 7]
    return channels.view(len(pose), skeleton.joints, len(CHANNELS))


def local_states(skeleton: Skeleton, pose: Tensor) -> Tensor:
    """Joint states (translation, quaternion, scale) in the parent's frame: [B, P] -> [B, J, 8].

    Raises: ValueError: when the pose has the wrong number of parameters.
    """
    return _channel_states(skeleton, joint_channels(skeleton, pose))


def _channel_states(skeleton: Skeleton, channels: Tensor) -> Tensor:
    """Joint states in the parent's frame: channels [B, J, 7] -> [B, J, 8]."""
    translation = channels[..., :3] + skeleton.offsets  # [B, J, 3]
    quaternion = quaternion_product(skeleton.rotations, euler_quaternion(channels[..., 3:6]))
    return torch.cat([translation, quaternion, torch.exp2(channels[..., 6:])], dim=-1)


def joint_states(skeleton: Skeleton, pose: Tensor) -> Tensor:
    """World-space joint states (translation, quaternion, scale): pose [B, P] -> [B, J, 8].

    Raises: ValueError: when the pose has the wrong number of parameters.
    """
    return world_states(skeleton, local_states(skeleton, pose))


def world_states(skeleton: Skeleton, local: Tensor) -> Tensor:
    """Compose joint states in the parents' frames to world-space states: [B, J, 8] -> [B, J, 8]."""
    states = local.clone()
    for joints, parents in skeleton.levels:
        states[:, joints] = _compose(states[:, parents], states[:, joints])
    return states


def inverse_states(states: Tensor) -> Tensor:
    """Inverse of joint states: [..., 8] -> [..., 8]."""
    translation, quaternion, scale = states[..., :3], states[..., 3:7], states[..., 7:]
    conjugate = torch.cat([-quaternion[..., :3], quaternion[..., 3:]], dim=-1)
    inverse = conjugate / (quaternion * quaternion).sum(-1, keepdim=True)
    return torch.cat([rotate(inverse, -translation) / scale, inverse, 1 / scale], dim=-1)


def joint_matrices(skeleton: Skeleton, pose: Tensor, *, by_frame: bool = False) -> Tensor:
    """Skinning matrices, from the rest shape to the posed one: pose [B, P] -> [B, J, 3, 4].

    by_frame: with the bits of each frame alone; a product of all poses is rounded differently.
    """
    poses = torch.split(pose, 1) if by_frame else [pose]
    channels = torch.cat([joint_channels(skeleton, each) for each in poses])  # [B, J, 7]
    states = world_states(skeleton, _channel_states(skeleton, channels))
    moved = _compose(states, skeleton.inverse_bind)
    translation, quaternion, scale = moved[..., :3], moved[..., 3:7], moved[..., 7:]
    return torch.cat(
        [quaternion_matrix(quaternion) * scale[..., None], translation[..., None]], dim=-1
    )


def skin(vertices: Tensor, weights: Tensor, joints: Tensor, matrices: Tensor) -> Tensor:
    """Linear blend skinning: vertices [B, V, 3], weights and joints [V, K], matrices [B, J, 3, 4]
    -> [B, V, 3]. Reference implementation of the kernel `skin` in `blendshape/kernels.py`.
    """
    blended = blend_matrices(weights, joints, matrices)  # [B, V, 3, 4]
    return torch.einsum("bvij,bvj->bvi", blended[..., :3], vertices) + blended[..., 3]


def blend_matrices(weights: Tensor, joints: Tensor, matrices: Tensor) -> Tensor:
    """Weighted matrix per vertex: weights, joints [V, K], matrices [B, J, 3, 4] -> [B, V, 3, 4]."""
    blended = matrices.new_zeros(len(matrices), len(weights), 3, 4)
    for k in range(weights.shape[1]):
        blended += weights[:, k, None, None] * matrices[:, joints[:, k].long()]
    return blended


def unskin(vertices: Tensor, weights: Tensor, joints: Tensor, matrices: Tensor) -> Tensor:
    """Inverse of `skin`: posed vertices [B, V, 3] -> vertices of the rest shape [B, V, 3]."""
    blended = blend_matrices(weights, joints, matrices)
    return torch.linalg.solve(blended[..., :3], (vertices - blended[..., 3])[..., None])[..., 0]


def _compose(outer: Tensor, inner: Tensor) -> Tensor:
    """World state of a child joint: parent state [..., 8], local state [..., 8] -> [..., 8]."""
    t, q, s = outer[..., :3], outer[..., 3:7], outer[..., 7:]
    moved = rotate(q, inner[..., :3].expand(t.shape) * s) + t
    return torch.cat([moved, quaternion_product(q, inner[..., 3:7]), s * inner[..., 7:]], dim=-1)
