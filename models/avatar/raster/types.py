"""Raster buffers and pixel coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from models.avatar.camera import Camera


EPSILON = 1e-8  # faces with a smaller area are degenerate; also keeps divisions finite
NOTHING = torch.iinfo(torch.int64).max  # key of a pixel without a visible face


@dataclass(frozen=True)
class Raster:
    """The visible face of every pixel."""

    faces: Tensor  # [B, H, W] int32, -1 for background pixels
    weights: Tensor  # [B, H, W, 3] of the corners of the face, perspective-correct
    depth: Tensor  # [B, H, W], infinite for background pixels


def to_normalised(camera: Camera, points: Tensor) -> Tensor:
    """World points [..., 3] -> normalised camera coordinates and depth [..., 3]."""
    u, v, z = camera.project(points).unbind(-1)
    half = min(camera.width, camera.height) / 2
    return torch.stack([(camera.width / 2 - u) / half, (camera.height / 2 - v) / half, z], dim=-1)


def pixel_centres(row: Tensor, column: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Normalised x and y of the centres of pixels, [N] each."""
    half = min(height, width) / 2
    return -((column + 0.5) - width / 2) / half, -((row + 0.5) - height / 2) / half
