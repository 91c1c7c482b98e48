"""Background, alpha and edges, for both kinds of avatar, with kernels and in plain torch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.avatar.appearance import TRANSPARENT, RenderOptions
from models.avatar.avatar import Avatar
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.blendshape.shading import wall_background
from models.avatar.codec.renderer import CodecAvatar, CodecOptions
from models.avatar.codec.texture.surface import Surface
from tests.models.avatar.codec.tiny import tiny_cameras, tiny_model, tiny_motion

GREEN = (16, 200, 60)
KINDS = ["blendshape", "plain blendshape", "codec", "plain codec"]


@pytest.fixture(params=KINDS)
def avatar(
    request: pytest.FixtureRequest,
    tiny: BlendshapeAvatar,
    plain_tiny: BlendshapeAvatar,
    monkeypatch: pytest.MonkeyPatch,
) -> Avatar:
    if "codec" not in request.param:
        return plain_tiny if "plain" in request.param else tiny
    if "plain" in request.param:
        monkeypatch.setattr(Surface, "render", Surface.render_plain)
    return CodecAvatar(tiny_model(), tiny_cameras(), options=CodecOptions(rounding=True))


def render(avatar: Avatar, options: RenderOptions) -> np.ndarray:
    face, pose = tiny_motion(2)
    camera = avatar.camera().resized(64, 96)
    return np.concatenate(list(avatar.render(0 * face, 0.2 * pose, [camera], options=options)))


def composited(frames: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    alpha = frames[..., 3:] / 255
    return frames[..., :3] * alpha + np.array(colour) * (1 - alpha)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_a_transparent_image_over_a_colour_equals_rendering_on_that_colour(
    avatar: Avatar, samples: int
) -> None:
    clear = render(avatar, RenderOptions(TRANSPARENT, samples))
    on_green = render(avatar, RenderOptions(GREEN, samples))
    assert (clear.shape[-1], on_green.shape[-1]) == (4, 3)
    assert np.abs(composited(clear, GREEN) - on_green).max() <= 1.01
    steps = np.unique(clear[..., 3])
    assert {0, 255} <= set(steps)
    assert set(steps) <= {int(255 * n / samples**2 + 0.5) for n in range(samples**2 + 1)}
    assert (len(steps) > 2) == (samples > 1)


def test_uncovered_pixels_have_the_requested_colour(avatar: Avatar) -> None:
    alpha = render(avatar, RenderOptions(TRANSPARENT))[..., 3]
    frames = render(avatar, RenderOptions(GREEN))
    assert 0.02 < (alpha == 255).mean() < 0.98
    assert (frames[alpha == 0] == GREEN).all()
    assert (np.abs(frames[alpha == 255].astype(int) - GREEN).max(1) > 2).mean() > 0.95


def test_the_background_does_not_change_the_person(avatar: Avatar) -> None:
    clear, default = render(avatar, RenderOptions(TRANSPARENT)), render(avatar, RenderOptions())
    inside = clear[..., 3] == 255
    assert np.array_equal(clear[inside][:, :3], default[inside])
    assert np.array_equal(render(avatar, RenderOptions(GREEN))[inside], default[inside])


def test_default_backgrounds_are_a_wall_and_black(tiny: BlendshapeAvatar) -> None:
    outside = render(tiny, RenderOptions(TRANSPARENT))[..., 3] == 0
    wall = wall_background(tiny.camera().resized(64, 96)).numpy()
    assert (render(tiny, RenderOptions()) == wall)[outside].all()
    codec = CodecAvatar(tiny_model(), tiny_cameras())
    outside = render(codec, RenderOptions(TRANSPARENT))[..., 3] == 0
    assert not render(codec, RenderOptions())[outside].any()


@pytest.mark.parametrize("method", [Surface.render, Surface.render_plain], ids=["kernel", "plain"])
def test_partly_covered_edges_keep_the_colour_of_the_skin(method: Callable[..., None]) -> None:
    """Edges mixed with black and also given an alpha would show a dark outline."""
    faces = torch.tensor([[0, 1, 2]])
    surface = Surface(faces, faces, torch.rand(3, 2))
    posed = torch.tensor([[[-1.3, 1.2, 0.0], [1.1, 0.9, 0], [-0.7, -1.4, 0]]])
    camera = tiny_cameras()["front"].resized(64, 64)
    posed = posed * 20 + torch.tensor([0.0, 50.0, 10.0])
    frames = torch.zeros(1, 64, 64, 4, dtype=torch.uint8)
    method(surface, posed, torch.full((1, 3, 4, 4), 150.0), camera, frames, samples=4)
    covered = frames[0][frames[0, ..., 3] > 0]
    assert len(covered[:, 3].unique()) > 5
    assert len(covered[:, :3].unique(dim=0)) == 1


@pytest.mark.parametrize("samples", [0, 5])
def test_an_invalid_number_of_samples_raises_an_error(samples: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 4 along a pixel's side \\({samples}\\)"):
        RenderOptions(samples=samples)
