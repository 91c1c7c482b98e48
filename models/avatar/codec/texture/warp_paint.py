"""Launch of the texture kernel. Importing this module requires warp.

Letters: B images, V vertices, H and W pixels, S side of a texture.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import warp

from models.avatar.codec.texture.display import BLACK, GAIN, GAMMA
from models.avatar.raster.warp import face_keys, kernel_module, torch_stream

if TYPE_CHECKING:
    from torch import Tensor

wp: Any = warp  # the annotations of warp are incomplete


@cache
def _kernels() -> Any:
    return kernel_module("models.avatar.codec.texture.kernels")


def render(
    points: Tensor,  # [B, V, 3] normalised coordinates
    faces: Tensor,  # [F, 3]
    uv: Tensor,  # [U, 2]
    uv_faces: Tensor,  # [F, 3]
    texture: Tensor,  # [B, 3, S, S]
    frames: Tensor,  # [B, H, W, 3 or 4] uint8, rendered over in place
    *,
    samples: int,
    rounding: bool,
) -> None:
    """Render with the kernel; `Surface.render_plain` is the reference implementation."""
    kernels, (count, height, width, _) = _kernels(), frames.shape
    device, side = points.device, texture.shape[-1]
    keys = face_keys(points, faces, height=height * samples, width=width * samples)
    rows = texture.permute(0, 2, 3, 1).contiguous().view(count, side * side, 3)
    inputs = [
        wp.from_torch(points.contiguous(), dtype=wp.vec3),
        wp.from_torch(faces.int(), dtype=wp.vec3i),
        wp.from_torch(uv_faces.int(), dtype=wp.vec3i),
        wp.from_torch(uv.contiguous(), dtype=wp.vec2),
        wp.from_torch(rows, dtype=wp.vec3),
        side,
        wp.vec3(*GAIN),
        BLACK,
        1 / GAMMA,
        0.5 if rounding else 0.0,
        samples,
        keys,
        wp.from_torch(frames),
    ]
    with torch_stream(device):
        wp.launch(kernels.render, (count, height, width), inputs, device=str(device))
