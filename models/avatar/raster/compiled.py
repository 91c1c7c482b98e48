"""Kernels compiled ahead of time: `python -m models.avatar.raster.compiled`, for images.

The command fills the cache folder of warp (`WARP_CACHE_PATH`). A process that cannot write there
loads the kernels from it, and compiles only those that are missing, in the temporary folder.
"""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING

from models.avatar.raster.warp import block_of, start_warp, wp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MODULES = (
    "models.avatar.raster.kernels",
    "models.avatar.blendshape.kernels",
    "models.avatar.blendshape.full.kernels",
    "models.avatar.codec.texture.kernels",
)
ON_CPU = (  # modules that no GPU runs
    "models.avatar.raster.cpu_kernels",
    "models.avatar.blendshape.cpu_kernels",
    "models.avatar.yuv.kernels",
)
ARCHITECTURES = (80, 90, 100)  # A100, H100 and H200, B200


def compile_kernels(architectures: Sequence[int] = ARCHITECTURES) -> list[Path]:
    """Compile all kernels for this kind of CPU and for GPUs, without a GPU; return the files."""
    folder = start_warp()
    for name in (*MODULES, *ON_CPU):
        module = importlib.import_module(name)
        wp.load_module(module, device="cpu", block_dim=block_of("cpu"))
        for arch in architectures if name in MODULES else ():
            wp.compile_aot_module(module, arch=arch, use_ptx=False)
    return sorted(file for file in folder.rglob("*") if file.suffix in {".o", ".cubin"})


def main() -> None:
    """Compile and print the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", type=int, nargs="*", default=ARCHITECTURES, help="of GPUs: 90")
    for file in compile_kernels(parser.parse_args().arch):
        print(file)  # noqa: T201 -- the result of the command


if __name__ == "__main__":
    main()
