"""A skinned avatar whose face is moved by named units: what `avatar.kind = "blendshape"` means.

Letters: T or B frames, U face units, P = 104 pose parameters, V vertices, F faces,
K joints a vertex hangs on, M texture coordinates. Lengths are decimetres unless said.
A face code is the face units behind a fixed orthonormal basis: code [256] = basis [256, U] @ units.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from models.avatar.blendshape.texture import unpack_texture
from models.avatar.mesh.skinning import Skeleton, joint_matrices, skin

if TYPE_CHECKING:
    from pathlib import Path

CENTIMETRES = 10.0  # in a decimetre
INSIDE_THE_MOUTH = ("teeth", "tongue")  # parts that get the light which the lips let in
CLOSED_LIGHT = 0.15  # of the light that falls into a mouth when it is open
OPEN = 0.12  # decimetres between the lips from which on all of it does


@dataclass(frozen=True)
class BlendshapeConfig:
    """Names of what the weights hold, in their order."""

    unit_names: tuple[str, ...]  # U
    parameter_names: tuple[str, ...]  # P
    part_names: tuple[str, ...]
    parents: tuple[int, ...]  # of the joints, -1 for a root
    shine: tuple[float, ...]  # of each part, 0 dull to 1 wet
    upper_lip: tuple[int, ...]  # vertices on the inner edge of the upper lip, at its middle
    lower_lip: tuple[int, ...]  # those that meet them when the mouth is closed


@dataclass(frozen=True)
class BlendshapeModel:
    """Everything that does not change from frame to frame."""

    config: BlendshapeConfig
    face_basis: Tensor  # [256, U] orthonormal columns
    skeleton: Skeleton
    template: Tensor  # [V, 3]
    moving: Tensor  # [N] the vertices that any unit moves
    shapes: Tensor  # [U, N * 3]
    skin_weights: Tensor  # [V, K]
    skin_joints: Tensor  # [V, K] int32
    faces: Tensor  # [F, 3] int32
    uv_faces: Tensor  # [F, 3] int32
    uv: Tensor  # [M, 2], v downwards
    parts: Tensor  # [V] int32, which part a vertex belongs to
    openness: Tensor  # [V] how much of the sky a vertex sees, 0 to 1
    texture: Tensor  # [size, size, 3] uint8 sRGB

    @property
    def unit_names(self) -> tuple[str, ...]:
        return self.config.unit_names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.config.parameter_names

    @cached_property
    def shine(self) -> Tensor:
        """[V] of each vertex."""
        return torch.tensor(self.config.shine, device=self.parts.device)[self.parts.long()]

    def face_code(self, units: Tensor) -> Tensor:
        """Face units [T, U], 0 to 1 -> face codes [T, 256]."""
        _check("units", units, self.face_basis.shape[1])
        return units @ self.face_basis.T

    def unit_weights(self, face: Tensor) -> Tensor:
        """Face codes [T, 256] -> face units [T, U], held between 0 and 1."""
        _check("face", face, self.face_basis.shape[0])
        return (face @ self.face_basis).clamp(0, 1)

    def rest(self, units: Tensor) -> Tensor:
        """The rest pose with a face: units [T, U] -> [T, V, 3]."""
        _check("units", units, self.face_basis.shape[1])
        vertices = self.template.expand(len(units), -1, -1).clone()
        vertices[:, self.moving] += (units @ self.shapes).view(len(units), -1, 3)
        return vertices

    def mouth_light(self, rest: Tensor) -> Tensor:
        """The rest pose with a face [T, V, 3] -> how bright it is inside the mouth, [T], 0 to 1."""
        share = (self._lip_gap(rest) / OPEN).clamp(0, 1)
        return CLOSED_LIGHT + (1 - CLOSED_LIGHT) * share

    def posed(self, face: Tensor, pose: Tensor) -> Tensor:
        """Face codes [T, 256] and pose [T, P] -> vertices [T, V, 3] in the world."""
        _check("pose", pose, self.skeleton.transform.shape[1])
        matrices = joint_matrices(self.skeleton, pose)  # [T, P] -> [T, J, 3, 4]
        vertices = self.rest(self.unit_weights(face))
        return skin(vertices, self.skin_weights, self.skin_joints, matrices)

    def lip_opening(self, face: Tensor) -> Tensor:
        """Face codes [T, 256] or face units [T, U] -> how far the inner lips are apart, [T] cm.

        Measured upwards, in the rest pose; lips that touch or overlap are 0 apart.
        """
        units = face if face.shape[-1] == self.face_basis.shape[1] else self.unit_weights(face)
        return self._lip_gap(self.rest(units)).clamp(min=0) * CENTIMETRES

    def _lip_gap(self, rest: Tensor) -> Tensor:
        upper = rest[:, list(self.config.upper_lip)].mean(1)  # [T, 3]
        lower = rest[:, list(self.config.lower_lip)].mean(1)
        return (upper - lower)[:, 1]

    def vertices_of(self, *part_names: str) -> Tensor:
        """Indices of the vertices of some parts, [N]."""
        wanted = [self.config.part_names.index(name) for name in part_names]
        chosen = torch.isin(self.parts, torch.tensor(wanted, device=self.parts.device))
        return chosen.nonzero()[:, 0]


def _check(name: str, value: Tensor, width: int) -> None:
    if value.ndim != 2 or value.shape[1] != width:
        raise ValueError(f"{name} must be [T, {width}], got {list(value.shape)}")


def load_blendshape(path: Path, *, device: torch.device) -> BlendshapeModel:
    """Reads avatar.safetensors as `training.demo.body` writes it."""
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
        config=BlendshapeConfig(**{name: tuple(config[name]) for name in names + lips}),
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
    """Each unit's own list of moved vertices -> one table over all that ever move."""
    vertices, moves = weights["unit_vertices"].long(), weights["unit_moves"].float()
    moving = torch.unique(vertices)
    shapes = moves.new_zeros(units, len(moving), 3)
    unit = weights["unit_of_move"].long()
    shapes[unit, torch.searchsorted(moving, vertices)] = moves
    return moving, shapes.flatten(1)


def _read(path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt", device=str(device)) as file:
        config = json.loads(file.metadata()["config"])
        return config, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
