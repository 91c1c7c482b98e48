"""A person as animation files describe one: skeleton, skinned mesh, face units.

Letters: T or B frames, J joints, P pose parameters, U face units, V vertices, F faces, K joints per
vertex, M texture coordinates. World axes: x to the person's left, y up, z to the front; the origin
is on the floor below the bind shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from contracts.errors import InputError
from models.avatar.mesh.skinning import (
    CHANNELS,
    Skeleton,
    inverse_states,
    joint_states,
    local_states,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Indices = NDArray[np.integer[Any]]


class AnimationError(InputError):
    """Motion, or a person, that a file format cannot hold; the message names the reason."""


@dataclass(frozen=True)
class Shape:
    """A displacement of some vertices: one face unit, or one component of a decoded surface."""

    name: str
    vertices: Indices  # [N]
    moves: Floats  # [N, 3] metres, in the rest shape


@dataclass(frozen=True)
class Mesh:
    """Mesh in the bind pose, in metres."""

    positions: Floats  # [V, 3]
    faces: Indices  # [F, 3] counter-clockwise from outside
    uv: Floats  # [M, 2], v downwards
    uv_faces: Indices  # [F, 3]
    skin_joints: Indices  # [V, K]
    skin_weights: Floats  # [V, K], sums of 1
    texture: NDArray[np.uint8]  # [H, W, 3] sRGB
    shapes: tuple[Shape, ...] = ()


class Surface(Protocol):
    """Mesh of one kind of avatar."""

    def mesh(self) -> Mesh:
        """Return the mesh with the texture, in the coordinates of the cameras."""
        ...

    def posed(self, face: Floats, pose: Floats) -> Floats:
        """Return the vertices of frames: [B, 256] and [B, P] -> [B, V, 3], as those of `mesh`."""
        ...

    def offsets(self, face: Floats, pose: Floats) -> Floats | None:
        """Return displacements of the bind pose, [B, V, 3] metres; None where units move it."""
        ...


@dataclass(frozen=True)
class Figure:
    """Skeleton, names and surface of one person."""

    name: str
    skeleton: Skeleton  # on the CPU, in float64
    joint_names: tuple[str, ...]  # J
    parameter_names: tuple[str, ...]  # P, empty when the person's files have no names
    pose_width: int  # P
    face_width: int  # of a face code
    metres: float  # of one unit of the skeleton
    surface: Surface
    fixed: tuple[float, ...] = ()  # parameters of the skeleton after the pose: body proportions
    unit_names: tuple[str, ...] = ()  # U, empty for people without face units
    unit_weights: Callable[[Floats], Floats] | None = field(default=None, repr=False)
    face_codes: Callable[[Floats], Floats] | None = field(default=None, repr=False)

    @property
    def parents(self) -> tuple[int, ...]:
        return self.skeleton.parents

    def parameters(self, pose: Floats) -> torch.Tensor:
        """All parameters of the skeleton, [B, P] -> [B, P + proportions] float64.

        Raises: AnimationError: when the pose has another width.
        """
        if pose.ndim != 2 or pose.shape[1] != self.pose_width:
            raise AnimationError(
                f"pose: {list(pose.shape)} does not match {self.name}, whose poses have "
                f"{self.pose_width} parameters; choose the person of the motion"
            )
        fixed = np.broadcast_to(np.asarray(self.fixed, np.float64), (len(pose), len(self.fixed)))
        return torch.from_numpy(np.concatenate([pose.astype(np.float64), fixed], axis=1))

    @cached_property
    def mesh(self) -> Mesh:
        """Mesh in the bind pose, on the floor."""
        mesh = self.surface.mesh()
        return replace(mesh, positions=mesh.positions + self.lift)

    @cached_property
    def lift(self) -> Floats:
        """Displacement from the coordinates of the cameras to those of files, [3] metres."""
        return np.array([0.0, -float(self.surface.mesh().positions[:, 1].min()), 0.0])

    def posed(self, face: Floats, pose: Floats) -> Floats:
        """Vertices of frames in metres: [B, 256] and [B, P] -> [B, V, 3]."""
        self.parameters(pose)  # checks the width
        return np.asarray(self.surface.posed(face, pose) + self.lift)

    def local_states(self, pose: Floats) -> Floats:
        """Joint states in the parents' frames (metres, xyzw, scale): [B, P] -> [B, J, 8]."""
        states = self._in_metres(local_states(self.skeleton, self.parameters(pose)))
        roots = [joint for joint, parent in enumerate(self.parents) if parent < 0]
        states[:, roots, :3] += self.lift
        return states

    def world_states(self, pose: Floats) -> Floats:
        """World-space joint states (metres, xyzw, scale): [B, P] -> [B, J, 8]."""
        states = self._in_metres(joint_states(self.skeleton, self.parameters(pose)))
        states[..., :3] += self.lift
        return states

    @cached_property
    def rest_local(self) -> Floats:
        """Joint states of the rest pose (parameters of zero) in the parents' frames, [J, 8]."""
        return self.local_states(np.zeros((1, self.pose_width)))[0]

    @cached_property
    def rest_world(self) -> Floats:
        """World-space joint states of the rest pose, [J, 8]."""
        return self.world_states(np.zeros((1, self.pose_width)))[0]

    @cached_property
    def bind(self) -> Floats:
        """World-space joint states at which the mesh has its bind shape, [J, 8]."""
        states = self._in_metres(inverse_states(self.skeleton.inverse_bind[None]))[0]
        states[:, :3] += self.lift
        return states

    @cached_property
    def driven(self) -> NDArray[np.bool_]:
        """Channels that some pose parameter moves, [J, 7]."""
        transform = self.skeleton.transform[:, : self.pose_width].numpy()
        moved = np.abs(transform).max(1) > 0
        return np.asarray(moved.reshape(len(self.parents), len(CHANNELS)))

    @cached_property
    def height(self) -> float:
        """Height of the mesh in its bind shape, in metres."""
        return float(self.mesh.positions[:, 1].max())

    def joint(self, name: str) -> int:
        return self.joint_names.index(name)

    def _in_metres(self, states: torch.Tensor) -> Floats:
        values: Floats = states.numpy().copy()
        values[..., :3] *= self.metres
        values[..., 3:7] /= np.linalg.norm(values[..., 3:7], axis=-1, keepdims=True)
        return values


def numbered_names(joints: int) -> tuple[str, ...]:
    """Names of the joints of a person whose files have none."""
    return tuple(f"joint{joint:03d}" for joint in range(joints))
