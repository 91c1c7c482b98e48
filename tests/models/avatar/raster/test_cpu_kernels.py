"""The kernel of the rasteriser for CPUs: the bits of the kernel for GPUs, which runs on both."""

import pytest
import torch

from models.avatar.raster.types import NOTHING
from models.avatar.raster.warp import kernel_module, start_warp, wp
from tests.models.avatar.raster.test_plain import triangles


def keys_of(module: str, points: torch.Tensor, faces: torch.Tensor, *shape: int) -> torch.Tensor:
    """Keys [B, H, W] by the kernel `draw_faces` of a module; near and back faces are left out."""
    kernels = kernel_module(f"models.avatar.raster.{module}")
    keys = torch.full((len(points), *shape), NOTHING)
    arrays = [wp.from_torch(points, dtype=wp.vec3), wp.from_torch(faces.int(), dtype=wp.vec3i)]
    inputs = [*arrays, 0.0, 0, wp.from_torch(keys)]
    wp.launch(kernels.draw_faces, (len(points), len(faces)), inputs, device="cpu")
    return keys


@pytest.mark.parametrize("scale", [1.0, 0.05, 30.0])
@pytest.mark.parametrize("shape", [(64, 64), (90, 48), (33, 71), (20, 9), (9, 8), (12, 5), (3, 1)])
def test_both_kernels_draw_the_same_bits(shape: tuple[int, int], scale: float) -> None:
    start_warp()
    for seed in range(3):
        points, faces = triangles(200, seed)
        points[..., 0] *= scale
        ours = keys_of("cpu_kernels", points, faces, *shape)
        assert torch.equal(ours, keys_of("kernels", points, faces, *shape))
        assert (ours != NOTHING).any()
