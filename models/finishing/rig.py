"""Names and joints of a blendshape avatar, without its mesh."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from models.avatar.avatar import AvatarError
from models.avatar.mesh.skinning import Skeleton
from models.checkpoint import BACKEND

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


@dataclass(frozen=True)
class Rig:
    """Units and parameters by name, and the skeleton."""

    units: tuple[str, ...]  # U
    parameters: tuple[str, ...]  # P
    joints: tuple[str, ...]
    face_basis: Tensor  # [256, U] orthonormal columns
    skeleton: Skeleton


def load_rig(path: Path) -> Rig:
    """Read the small tables of avatar.safetensors. Raises: AvatarError: when it is damaged."""
    try:
        with safe_open(path, "pt", backend=BACKEND) as file:
            config = json.loads(file.metadata()["config"])
            transform = file.get_tensor("transform")
            skeleton = Skeleton(
                tuple(config["parents"]),
                file.get_tensor("joint_offsets"),
                file.get_tensor("joint_rotations"),
                transform,
                torch.zeros(len(transform)),
            )
            return Rig(
                units=tuple(config["unit_names"]),
                parameters=tuple(config["parameter_names"]),
                joints=tuple(config["joint_names"]),
                face_basis=file.get_tensor("face_basis"),
                skeleton=skeleton,
            )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AvatarError(f"{path}: invalid blendshape avatar: {error}") from error
