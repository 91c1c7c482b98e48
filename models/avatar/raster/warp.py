"""Launch of the rasteriser's warp kernels."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import warp
from torch import Tensor

from models.avatar.raster.types import NOTHING, Raster

if TYPE_CHECKING:
    from collections.abc import Iterator


wp: Any = warp  # the annotations of warp are incomplete


@cache
def start_warp() -> None:
    """Initialise warp without its banner and with a writable kernel cache.

    If the home folder is read-only, compiled kernels are cached in the temporary folder.
    """
    wp.config.log_level = wp.LOG_ERROR
    wp.config.enable_backward = False
    fallback = Path(tempfile.gettempdir()) / f"visavis-kernels-{os.getuid()}"
    with _stderr_without(b"Warp CUDA warning: Could not find or load the NVIDIA CUDA driver"):
        try:
            wp.init()
        except OSError:
            wp.config.kernel_cache_dir = str(fallback)
            wp.init()
    if not os.access(wp.config.kernel_cache_dir, os.W_OK):
        fallback.mkdir(parents=True, exist_ok=True)
        wp.config.kernel_cache_dir = str(fallback)


@contextmanager
def _stderr_without(prefix: bytes) -> Iterator[None]:
    """Drop lines with a prefix from stderr; other lines are written at the end.

    The C code of warp prints a warning on every machine without a GPU, and no setting disables it.
    """
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as captured:
            os.dup2(captured.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(stderr, 2)
                captured.seek(0)
                os.write(2, b"".join(line for line in captured if not line.startswith(prefix)))
    finally:
        os.close(stderr)


@cache
def _kernels() -> Any:
    start_warp()
    from models.avatar.raster import kernels

    return kernels


def rasterise(
    points: Tensor, faces: Tensor, *, height: int, width: int, near: float, front_only: bool
) -> Raster:
    """Rasterise with the kernels: points [B, V, 3], faces [F, 3]."""
    kernels, shape = _kernels(), (len(points), height, width)
    visible = torch.empty(shape, dtype=torch.int32, device=points.device)
    weights = torch.empty(*shape, 3, device=points.device)
    depth = torch.empty(shape, device=points.device)
    corners, triangles = _mesh(points, faces)
    keys = face_keys(points, faces, height=height, width=width, near=near, front_only=front_only)
    outputs = [wp.from_torch(visible), wp.from_torch(weights, dtype=wp.vec3), wp.from_torch(depth)]
    with torch_stream(points.device):
        wp.launch(
            kernels.read_keys,
            shape,
            [corners, triangles, keys, *outputs],
            device=str(points.device),
        )
    return Raster(visible, weights, depth)


def face_keys(
    points: Tensor,
    faces: Tensor,
    *,
    height: int,
    width: int,
    near: float = 0.0,
    front_only: bool = False,
) -> Any:
    """Pixel keys as a warp array: points [B, V, 3], faces [F, 3] -> [B, H, W].

    A key has the bits of the depth above and the index of the nearest face below.
    """
    corners, triangles = _mesh(points, faces)
    keys = wp.from_torch(torch.full((len(points), height, width), NOTHING, device=points.device))
    with torch_stream(points.device):
        wp.launch(
            _kernels().draw_faces,
            (len(points), len(faces)),
            [corners, triangles, near, int(front_only), keys],
            device=str(points.device),
        )
    return keys


def _mesh(points: Tensor, faces: Tensor) -> tuple[Any, Any]:
    """Points and faces as contiguous warp arrays."""
    corners = wp.from_torch(points.detach().float().contiguous(), dtype=wp.vec3)
    return corners, wp.from_torch(faces.int().contiguous(), dtype=wp.vec3i)


def torch_stream(device: torch.device) -> Any:
    """Launch scope in which kernels run on torch's current CUDA stream, in order with torch."""
    if device.type != "cuda":
        return wp.ScopedDevice("cpu")
    return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)))
