"""Launch of the rasteriser's warp kernels."""

from __future__ import annotations

import importlib
import os
import tempfile
from contextlib import contextmanager, suppress
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


# Kernels of one kind of CPU: the same bytes on all machines with it, and compiled on any of them.
X86_64_V3 = (
    "-target-cpu x86-64-v3 -mllvm=-inline-threshold=9000"
    " -mllvm=-inline-cold-callsite-threshold=3000 -mllvm=-slp-recursion-max-depth=4"
)


@cache
def start_warp() -> Path:
    """Initialise warp without its banner; return the folder of kernels compiled ahead of time.

    If this folder cannot be written, missing kernels are compiled in the temporary folder.
    """
    wp.config.log_level = wp.LOG_ERROR
    wp.config.enable_backward = False
    if torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}:
        wp.config.cpu_compiler_flags = X86_64_V3
    fallback = Path(tempfile.gettempdir()) / f"visavis-kernels-{os.getuid()}"
    with _stderr_without(b"Warp CUDA warning: Could not find or load the NVIDIA CUDA driver"):
        try:
            wp.init()
        except OSError:
            wp.config.kernel_cache_dir = str(fallback)
            wp.init()
    compiled = Path(wp.config.kernel_cache_dir)
    if not os.access(compiled, os.W_OK):
        with suppress(OSError):  # needed only if a kernel is missing
            fallback.mkdir(parents=True, exist_ok=True)
        wp.config.kernel_cache_dir = str(fallback)
    return compiled


def kernel_module(name: str) -> Any:
    """Import a module of kernels; those compiled ahead of time are loaded, others at first use."""
    compiled, kernels = start_warp(), importlib.import_module(name)
    if str(compiled) != wp.config.kernel_cache_dir:
        devices = ["cpu"]
        if torch.cuda.is_available():
            devices.append(f"cuda:{torch.cuda.current_device()}")
        for device in devices:
            _load_compiled(wp.get_module(name), device, compiled)
    return kernels


def _load_compiled(module: Any, device: str, compiled: Path) -> None:
    """Load a module from a folder that cannot be written, if it has the module for the device."""
    threads = block_of(device)
    identifier = module.get_module_identifier(block_dim=threads)
    target = "cpu*.o" if device == "cpu" else f"sm{wp.get_device(device).arch}.cubin"
    if any((compiled / identifier).glob(f"{identifier}.{target}")):
        writable, wp.config.kernel_cache_dir = wp.config.kernel_cache_dir, str(compiled)
        try:
            wp.load_module(module, device=device, block_dim=threads)
        finally:
            wp.config.kernel_cache_dir = writable


def block_of(device: str) -> int:
    """Threads of a block, as `wp.launch` sets them; kernels are compiled for this number."""
    return 1 if device == "cpu" else 256


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
    return kernel_module("models.avatar.raster.kernels")


@cache
def _cpu_kernels() -> Any:
    return kernel_module("models.avatar.raster.cpu_kernels")


def drawing_kernel(points: Any) -> Any:
    """Kernel `draw_faces` for the device of a warp array."""
    return (_cpu_kernels() if points.device.is_cpu else _kernels()).draw_faces


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
            drawing_kernel(corners),
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
