"""Kernels compiled ahead of time: for GPUs without a GPU, and loaded from a read-only folder."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.raster.compiled import ARCHITECTURES, MODULES
from models.avatar.raster.warp import start_warp, wp

FIRST_FRAME = """
import os, sys
from pathlib import Path
import torch
kept = os.access
os.access = lambda path, mode: mode != os.W_OK and kept(path, mode)  # root may write anywhere
from models.avatar.blendshape.kind import load_blendshape_avatar
avatar = load_blendshape_avatar(Path(sys.argv[1]), device=torch.device("cpu"), threads=1)
frames = next(avatar.render(torch.zeros(1, 256), torch.zeros(1, 104), [avatar.camera()]))
print(frames.shape, frames.std() > 5)
"""


def first_frame(avatar: Path, cache: Path, temporary: Path) -> str:
    """Render in a process whose home and kernel folder are read-only."""
    environment = os.environ | {
        "HOME": "/proc/none",
        "WARP_CACHE_PATH": str(cache),
        "TMPDIR": str(temporary),
    }
    command = [sys.executable, "-c", FIRST_FRAME, str(avatar)]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_a_process_that_cannot_write_renders_its_first_frame_with_compiled_kernels(
    tiny: BlendshapeAvatar, tiny_folder: Path, tmp_path: Path
) -> None:
    next(tiny.render(torch.zeros(1, 256), torch.zeros(1, 104), [tiny.camera()]))
    cache = start_warp()  # has the kernels now

    assert "True" in first_frame(tiny_folder, cache.parent, tmp_path)

    assert list(tmp_path.rglob("*.o")) == []


@pytest.mark.parametrize(
    ("module", "architecture"),
    [*((name, 90) for name in MODULES), *((MODULES[-1], each) for each in ARCHITECTURES[::2])],
)
def test_kernels_compile_for_gpus_without_a_gpu(
    tmp_path: Path, module: str, architecture: int
) -> None:
    start_warp()
    kernels = importlib.import_module(module)

    wp.compile_aot_module(kernels, arch=architecture, use_ptx=False, module_dir=tmp_path)

    (binary,) = tmp_path.glob(f"*.sm{architecture}.cubin")
    assert binary.read_bytes()[:4] == b"\x7fELF"
