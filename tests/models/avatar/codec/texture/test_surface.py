"""Textured square in front of a camera: colours, edges and bytes."""

import pytest
import torch

from models.avatar.camera import Camera, looking_at
from models.avatar.codec.texture.display import to_display
from models.avatar.codec.texture.surface import Surface

Tensor = torch.Tensor


def square() -> Surface:
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    return Surface(faces, faces, uv)


def corners(half: float = 1.0) -> Tensor:
    """Corners slightly off-centre, because a pixel centre on the diagonal belongs to no face."""
    up, down = 1.0, -1.01
    return half * torch.tensor([[[-1.0, up, 0], [1, up, 0], [-1, down, 0], [1, down, 0]]])


@pytest.fixture
def camera() -> Camera:
    """Camera for which 4 units at the distance of the square are 64 pixels."""
    return looking_at("c", eye=(0, 0, 10.0), target=(0, 0, 0), focal=2.5, width=64, height=64)


def render(camera: Camera, posed: Tensor, texture: Tensor, **options: int) -> Tensor:
    frames = torch.zeros(len(posed), camera.height, camera.width, 3, dtype=torch.uint8)
    square().render(posed, texture, camera, frames, **options)
    return frames


def test_the_first_and_the_last_texel_are_at_the_edges(camera: Camera) -> None:
    texture = torch.linspace(0, 100, 5).expand(1, 3, 5, 5)
    raster = square().raster(corners(), camera)
    colours = square().colours(raster, texture)
    rows = colours[:, 0].view(32, 32)
    expected = (torch.arange(32) + 0.5) / 32 * 100
    torch.testing.assert_close(rows, expected.expand(32, -1), atol=1e-3, rtol=1e-4)


def test_uncovered_pixels_stay_black(camera: Camera) -> None:
    frame = render(camera, corners(), torch.full((1, 3, 4, 4), 200.0))[0]
    covered = frame.amax(-1) > 0
    assert covered[16:48, 16:48].all()
    assert covered.sum() == 32 * 32


def test_each_frame_has_its_own_texture(camera: Camera) -> None:
    texture = torch.stack([torch.full((3, 4, 4), 60.0), torch.full((3, 4, 4), 200.0)])
    both = render(camera, corners().repeat(2, 1, 1), texture)
    for frame, one in zip(both, texture, strict=True):
        assert torch.equal(frame, render(camera, corners(), one[None])[0])


def test_supersampling_changes_only_the_edges(camera: Camera) -> None:
    texture = torch.full((1, 3, 4, 4), 200.0)
    hard = render(camera, corners(1.02), texture)[0, :, :, 0].int()
    soft = render(camera, corners(1.02), texture, samples=2)[0, :, :, 0].int()
    assert torch.equal(hard[18:46, 18:46], soft[18:46, 18:46])
    assert len(hard.unique()) == 2
    assert len(soft.unique()) > 2


def test_rounding_goes_to_the_nearest_byte(camera: Camera) -> None:
    texture = torch.linspace(10, 200, 4).expand(1, 3, 4, 4)
    down, near = (
        render(camera, corners(), texture, rounding=rounding).int() for rounding in (False, True)
    )
    assert ((near - down) >= 0).all()
    assert ((near - down) <= 1).all()
    assert (near > down).any()


def test_the_display_curve_keeps_black_and_clips() -> None:
    light = torch.tensor([[0.0, 0, 0], [-50, 1, 300], [255, 255, 255]])
    values = to_display(light)
    assert values[0].tolist() == [0, 0, 0]
    assert values[1, 0] == 0
    assert values[1, 2] == 255
    green = 1.055 * (0.95 - 5 / 255) ** (1 / 1.5) - 0.055
    assert values[2, 1].item() == pytest.approx(255 * green, abs=1e-3)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("rounding", [False, True])
def test_the_kernel_renders_what_plain_torch_renders(
    camera: Camera, samples: int, rounding: bool
) -> None:
    rng = torch.Generator().manual_seed(4)
    posed = corners().repeat(2, 1, 1) + 0.3 * torch.randn(2, 4, 3, generator=rng)
    texture = 255 * torch.rand(2, 3, 16, 16, generator=rng)
    images = []
    for method in (square().render, square().render_plain):
        frames = torch.full((2, 64, 100, 3), 7, dtype=torch.uint8)
        method(posed, texture, camera, frames[:, :, 20:84], samples=samples, rounding=rounding)
        images.append(frames.int())
    difference = (images[0] - images[1]).abs()
    assert (difference > 1).float().mean() < 2e-3
    assert (difference > 0).float().mean() < 0.02
    assert (images[0][:, :, 84:] == 7).all()
    assert (images[0] != 7).any()
