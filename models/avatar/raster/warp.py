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


wp: Any = warp  # its own annotations are partial


@cache
def start_warp() -> None:
    """Starts warp without its greeting, with a cache of kernels that can be written.

    Where the home folder is read-only, kernels are kept in the temporary folder instead.
    """
    wp.config.log_level = wp.LOG_ERROR
    wp.config.enable_backward = False
    fallback = Path(tempfile.gettempdir()) / f"visavis-kernels-{os.getuid()}"
    with _without(b"Warp CUDA warning: Could not find or load the NVIDIA CUDA driver"):
        try:
            wp.init()
        except OSError:
            wp.config.kernel_cache_dir = str(fallback)
            wp.init()
    if not os.access(wp.config.kernel_cache_dir, os.W_OK):
        fallback.mkdir(parents=True, exist_ok=True)
        wp.config.kernel_cache_dir = str(fallback)


@contextmanager
def _without(news: bytes) -> Iterator[None]:
    """Leaves one line out of what is written to stderr: warp's C code tells every machine without
    a GPU that it has none, past all settings. Other lines come through, a moment later."""
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(stderr, 2)
                said.seek(0)
                os.write(2, b"".join(line for line in said if not line.startswith(news)))
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
    """`rasteriser.rasterise` by the kernels: points [B, V, 3], faces [F, 3]."""
    kernels, shape = _kernels(), (len(points), height, width)
    seen = torch.empty(shape, dtype=torch.int32, device=points.device)
    weights = torch.empty(*shape, 3, device=points.device)
    depth = torch.empty(shape, device=points.device)
    corners, triangles = _mesh(points, faces)
    drawn = face_keys(points, faces, height=height, width=width, near=near, front_only=front_only)
    outputs = [wp.from_torch(seen), wp.from_torch(weights, dtype=wp.vec3), wp.from_torch(depth)]
    with torch_stream(points.device):
        wp.launch(
            kernels.read_keys,
            shape,
            [corners, triangles, drawn, *outputs],
            device=str(points.device),
        )
    return Raster(seen, weights, depth)


def face_keys(
    points: Tensor,
    faces: Tensor,
    *,
    height: int,
    width: int,
    near: float = 0.0,
    front_only: bool = False,
) -> Any:
    """points [B, V, 3], faces [F, 3] -> what each pixel sees, [B, H, W] for the kernels that read
    it: depth's bits above, the face below."""
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
    """As the kernels read it."""
    corners = wp.from_torch(points.detach().float().contiguous(), dtype=wp.vec3)
    return corners, wp.from_torch(faces.int().contiguous(), dtype=wp.vec3i)


def torch_stream(device: torch.device) -> Any:
    """Kernels queue behind torch's own work on a GPU, and before what follows it."""
    if device.type != "cuda":
        return wp.ScopedDevice("cpu")
    return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(device)))
