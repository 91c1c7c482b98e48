"""RGB frames to YUV 4:2:0 with a warp kernel. Importing it requires warp.

Letters: N frames, H and W pixels, both even.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from models.avatar.raster.warp import kernel_module, wp

if TYPE_CHECKING:
    from numpy.typing import NDArray


@cache
def _kernels() -> Any:
    return kernel_module("models.avatar.yuv.kernels")


def planes_of(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert [N, H, W, 3] RGB to [N, H * W * 3 / 2] as `planes_plain`, with equal bytes."""
    count, height, width, _ = frames.shape
    planes = np.empty((count, height * width * 3 // 2), np.uint8)
    flat = np.ascontiguousarray(frames).reshape(-1)
    wp.launch(
        _kernels().planes_of_rows,
        (count, height // 2),
        [_array(flat), height, width, _array(planes.reshape(-1))],
        device="cpu",
    )
    return planes


def _array(values: NDArray[np.uint8]) -> Any:
    return wp.array(values, dtype=wp.uint8, device="cpu", copy=False)
