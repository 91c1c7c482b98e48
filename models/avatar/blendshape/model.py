"""Model of the avatar kind "blendshape": a skinned mesh whose face is deformed by blend shapes.

Letters: T or B frames, U face units, P = 104 pose parameters, V vertices, F faces,
K joints per vertex, M texture coordinates. Lengths are decimetres unless stated otherwise.
A face code is the face units in a fixed orthonormal basis: code [256] = basis [256, U] @ units.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.avatar.avatar import AvatarError
from models.avatar.blendshape.texture import unpack_texture
from models.avatar.mesh.skinning import Skeleton, joint_matrices, skin
from models.checkpoint import BACKEND

if TYPE_CHECKING:
    from pathlib import Path

CENTIMETRES = 10.0  # in a decimetre
INSIDE_THE_MOUTH = ("teeth", "tongue")  # parts that are darker while the lips are closed
CLOSED_LIGHT = 0.15  # brightness inside a closed mouth, relative to an open one
OPEN = 0.12  # decimetres between the lips at which the mouth counts as fully open


@dataclass(frozen=True)
class BlendshapeConfig:
    """Names of units, parameters and parts, in the order of the weights."""

    unit_names: tuple[str, ...]  # U
    parameter_names: tuple[str, ...]  # P
    part_names: tuple[str, ...]
    parents: tuple[int, ...]  # parent of each joint, -1 for a root
    shine: tuple[float, ...]  # of each part, 0 matt to 1 wet
    upper_lip: tuple[int, ...]  # vertices on the inner edge of the upper lip, at its middle
    lower_lip: tuple[int, ...]  # vertices that meet the upper ones when the mouth is closed
    joint_names: tuple[str, ...] = ()  # J; empty in files without names


@dataclass(frozen=True)
class BlendshapeModel:
    """Weights and tables of one person; constant over frames."""

    config: BlendshapeConfig
    face_basis: Tensor  # [256, U] orthonormal columns
    skeleton: Skeleton
    template: Tensor  # [V, 3]
    moving: Tensor  # [N] vertices that at least one unit moves
    shapes: Tensor  # [U, N * 3]
    skin_weights: Tensor  # [V, K]
    skin_joints: Tensor  # [V, K] int32
    faces: Tensor  # [F, 3] int32
    uv_faces: Tensor  # [F, 3] int32
    uv: Tensor  # [M, 2], v downwards
    parts: Tensor  # [V] int32, part of each vertex
    openness: Tensor  # [V] share of the sky that is visible from a vertex, 0 to 1
    texture: Tensor  # [size, size, 3] uint8 sRGB

    @property
    def unit_names(self) -> tuple[str, ...]:
        return self.config.unit_names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.config.parameter_names

    @cached_property
    def shine(self) -> Tensor:
        """Shine of each vertex, [V]."""
        return torch.tensor(self.config.shine, device=self.parts.device)[self.parts.long()]

    def face_code(self, units: Tensor) -> Tensor:
        """Encode face units [T, U], 0 to 1, as face codes [T, 256]."""
        _check("units", units, self.face_basis.shape[1])
        return units @ self.face_basis.T

    def unit_weights(self, face: Tensor) -> Tensor:
        """Decode face codes [T, 256] to face units [T, U], clamped to 0 to 1."""
        _check("face", face, self.face_basis.shape[0])
        return (face @ self.face_basis).clamp(0, 1)

    def rest(self, units: Tensor) -> Tensor:
        """Vertices in the rest pose with the face applied: units [T, U] -> [T, V, 3]."""
        _check("units", units, self.face_basis.shape[1])
        vertices = self.template.expand(len(units), -1, -1).clone()
        vertices[:, self.moving] += (units @ self.shapes).view(len(units), -1, 3)
        return vertices

    def mouth_light(self, rest: Tensor) -> Tensor:
        """Brightness inside the mouth, 0 to 1: rest pose with a face [T, V, 3] -> [T]."""
        share = (self._lip_gap(rest) / OPEN).clamp(0, 1)
        return CLOSED_LIGHT + (1 - CLOSED_LIGHT) * share

    def posed(self, face: Tensor, pose: Tensor) -> Tensor:
        """World-space vertices: face codes [T, 256] and pose [T, P] -> [T, V, 3]."""
        _check("pose", pose, self.skeleton.transform.shape[1])
        matrices = joint_matrices(self.skeleton, pose)  # [T, P] -> [T, J, 3, 4]
        vertices = self.rest(self.unit_weights(face))
        return skin(vertices, self.skin_weights, self.skin_joints, matrices)

    def lip_opening(self, face: Tensor) -> Tensor:
        """Lip distance in centimetres: face codes [T, 256] or face units [T, U] -> [T].

        Vertical distance of the inner lips in the rest pose; 0 for lips that touch or overlap.
        """
        units = face if face.shape[-1] == self.face_basis.shape[1] else self.unit_weights(face)
        return self._lip_gap(self.rest(units)).clamp(min=0) * CENTIMETRES

    def _lip_gap(self, rest: Tensor) -> Tensor:
        upper = rest[:, list(self.config.upper_lip)].mean(1)  # [T, 3]
        lower = rest[:, list(self.config.lower_lip)].mean(1)
        return (upper - lower)[:, 1]

    def vertices_of(self, *part_names: str) -> Tensor:
        """Indices of the vertices of the named parts, [N]."""
        numbers = [self.config.part_names.index(name) for name in part_names]
        selected = torch.isin(self.parts, torch.tensor(numbers, device=self.parts.device))
        return selected.nonzero()[:, 0]


def _check(name: str, value: Tensor, width: int) -> None:
    if value.ndim != 2 or value.shape[1] != width:
        raise ValueError(f"{name} must be [T, {width}], got {list(value.shape)}")


def load_blendshape(path: Path, *, device: torch.device) -> BlendshapeModel:
    """Read avatar.safetensors in the format that `training.demo.body` writes.

    Raises: AvatarError: when the file is damaged.
    """
    config, weights = _read(path, device)
    names = ("unit_names", "parameter_names", "part_names", "parents", "shine")
    lips = ("upper_lip", "lower_lip")
    basis = weights["face_basis"]
    moving, shapes = _dense_shapes(weights, basis.shape[1])
    skeleton = Skeleton(
        tuple(config["parents"]),
        weights["joint_offsets"],
        weights["joint_rotations"],
        weights["transform"],
        torch.zeros(len(weights["transform"]), device=device),
    )
    skin_weights = weights["skin_weights"].float()
    return BlendshapeModel(
        config=BlendshapeConfig(
            **{name: tuple(config[name]) for name in names + lips},
            joint_names=tuple(config.get("joint_names", ())),
        ),
        face_basis=basis,
        skeleton=skeleton,
        template=weights["template"],
        moving=moving,
        shapes=shapes,
        skin_weights=skin_weights / skin_weights.sum(1, keepdim=True),
        skin_joints=weights["skin_joints"].int(),
        faces=weights["faces"].int(),
        uv_faces=weights["uv_faces"].int(),
        uv=weights["uv"].float(),
        parts=weights["parts"].int(),
        openness=weights["openness"].float() / 255,
        texture=unpack_texture(weights["texture"]).to(device),
    )


def _dense_shapes(weights: dict[str, Tensor], units: int) -> tuple[Tensor, Tensor]:
    """Dense blend shapes [U, N * 3] over the N moving vertices, from the sparse lists per unit."""
    vertices, moves = weights["unit_vertices"].long(), weights["unit_moves"].float()
    moving = torch.unique(vertices)
    shapes = moves.new_zeros(units, len(moving), 3)
    unit = weights["unit_of_move"].long()
    shapes[unit, torch.searchsorted(moving, vertices)] = moves
    return moving, shapes.flatten(1)


def _read(path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt", device=str(device), backend=BACKEND) as file:
            config = json.loads(file.metadata()["config"])
            return config, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AvatarError(f"{path}: invalid blendshape avatar: {error}") from error
