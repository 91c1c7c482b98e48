"""Backgrounds and edges, for both kinds of avatar and for kernels and plain torch alike."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.avatar.appearance import TRANSPARENT, RenderOptions
from models.avatar.avatar import Avatar
from models.avatar.blendshape.renderer import BlendshapeAvatar
from models.avatar.blendshape.shading import backdrop
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
        monkeypatch.setattr(Surface, "paint", Surface.paint_plain)
    return CodecAvatar(tiny_model(), tiny_cameras(), options=CodecOptions(rounding=True))


def shown(avatar: Avatar, look: RenderOptions) -> np.ndarray:
    face, pose = tiny_motion(2)
    camera = avatar.camera().resized(64, 96)
    return np.concatenate(list(avatar.render(0 * face, 0.2 * pose, [camera], look=look)))


def laid_over(frames: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    alpha = frames[..., 3:] / 255
    return frames[..., :3] * alpha + np.array(colour) * (1 - alpha)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_a_transparent_picture_laid_over_a_colour_is_what_is_painted_on_it(
    avatar: Avatar, samples: int
) -> None:
    clear = shown(avatar, RenderOptions(TRANSPARENT, samples))
    on_green = shown(avatar, RenderOptions(GREEN, samples))
    assert (clear.shape[-1], on_green.shape[-1]) == (4, 3)
    assert np.abs(laid_over(clear, GREEN) - on_green).max() <= 1.01
    steps = np.unique(clear[..., 3])
    assert {0, 255} <= set(steps)
    assert set(steps) <= {int(255 * n / samples**2 + 0.5) for n in range(samples**2 + 1)}
    assert (len(steps) > 2) == (samples > 1)


def test_what_nobody_covers_has_the_colour_that_was_asked_for(avatar: Avatar) -> None:
    alpha = shown(avatar, RenderOptions(TRANSPARENT))[..., 3]
    frames = shown(avatar, RenderOptions(GREEN))
    assert 0.02 < (alpha == 255).mean() < 0.98
    assert (frames[alpha == 0] == GREEN).all()
    assert (np.abs(frames[alpha == 255].astype(int) - GREEN).max(1) > 2).mean() > 0.95


def test_the_person_is_the_same_in_front_of_everything(avatar: Avatar) -> None:
    clear, own = shown(avatar, RenderOptions(TRANSPARENT)), shown(avatar, RenderOptions())
    inside = clear[..., 3] == 255
    assert np.array_equal(clear[inside][:, :3], own[inside])
    assert np.array_equal(shown(avatar, RenderOptions(GREEN))[inside], own[inside])


def test_own_backgrounds_are_a_wall_and_black(tiny: BlendshapeAvatar) -> None:
    outside = shown(tiny, RenderOptions(TRANSPARENT))[..., 3] == 0
    wall = backdrop(tiny.camera().resized(64, 96)).numpy()
    assert (shown(tiny, RenderOptions()) == wall)[outside].all()
    codec = CodecAvatar(tiny_model(), tiny_cameras())
    outside = shown(codec, RenderOptions(TRANSPARENT))[..., 3] == 0
    assert not shown(codec, RenderOptions())[outside].any()


@pytest.mark.parametrize("paint", [Surface.paint, Surface.paint_plain], ids=["kernel", "plain"])
def test_edges_in_part_covered_keep_the_colour_of_the_skin(paint: Callable[..., None]) -> None:
    """Mixing them with black, and the share besides, would draw a dark line around everybody."""
    faces = torch.tensor([[0, 1, 2]])
    surface = Surface(faces, faces, torch.rand(3, 2))
    posed = torch.tensor([[[-1.3, 1.2, 0.0], [1.1, 0.9, 0], [-0.7, -1.4, 0]]])
    camera = tiny_cameras()["front"].resized(64, 64)
    posed = posed * 20 + torch.tensor([0.0, 50.0, 10.0])
    frames = torch.zeros(1, 64, 64, 4, dtype=torch.uint8)
    paint(surface, posed, torch.full((1, 3, 4, 4), 150.0), camera, frames, samples=4)
    seen = frames[0][frames[0, ..., 3] > 0]
    assert len(seen[:, 3].unique()) > 5
    assert len(seen[:, :3].unique(dim=0)) == 1


@pytest.mark.parametrize("samples", [0, 5])
def test_samples_that_nobody_can_wait_for_are_refused(samples: int) -> None:
    with pytest.raises(ValueError, match=f"must be 1 to 4 along a pixel's side \\({samples}\\)"):
        RenderOptions(samples=samples)
