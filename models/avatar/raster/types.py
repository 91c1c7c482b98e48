"""Raster buffers and pixel coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from models.avatar.camera import Camera


EPSILON = 1e-8  # smaller areas are no faces; also keeps divisions finite


NOTHING = torch.iinfo(torch.int64).max  # the key of a pixel that sees no face


@dataclass(frozen=True)
class Raster:
    """What every pixel sees."""

    faces: Tensor  # [B, H, W] int32, -1 where nothing is
    weights: Tensor  # [B, H, W, 3] of the face's corners, perspective-correct
    depth: Tensor  # [B, H, W], infinite where nothing is


def to_normalised(camera: Camera, points: Tensor) -> Tensor:
    """World points [..., 3] -> normalised camera coordinates and depth [..., 3]."""
    u, v, z = camera.project(points).unbind(-1)
    half = min(camera.width, camera.height) / 2
    return torch.stack([(camera.width / 2 - u) / half, (camera.height / 2 - v) / half, z], dim=-1)


def pixel_centres(row: Tensor, column: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Normalised x and y of the centres of pixels, [N] each."""
    half = min(height, width) / 2
    return -((column + 0.5) - width / 2) / half, -((row + 0.5) - height / 2) / half
