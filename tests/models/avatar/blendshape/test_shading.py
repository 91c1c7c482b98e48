"""Shading against closed forms, tone curve, texture sampling and the default background."""

import pytest
import torch

from models.avatar.blendshape.shading import (
    LIGHTS,
    WALL,
    sample_texture,
    shade,
    to_display,
    to_linear,
    tone_curve,
    wall_background,
)
from models.avatar.camera import looking_at

Tensor = torch.Tensor
UP, AHEAD = [0.0, 1, 0], [0.0, 0, 1]


def one(
    albedo: float = 0.5,
    *,
    normal: list[float] = AHEAD,
    openness: float = 1.0,
    shine: float = 0.0,
    towards: list[float] = AHEAD,
) -> Tensor:
    """Light from a single grey point, [3]."""
    return shade(
        torch.full((1, 3), albedo),
        torch.tensor([normal]),
        torch.tensor([towards]),
        torch.tensor([openness]),
        torch.tensor([shine]),
    )[0]


def test_light_directions_have_unit_length() -> None:
    torch.testing.assert_close(torch.tensor(LIGHTS).norm(dim=1), torch.ones(3), atol=2e-3, rtol=0)


def test_the_light_of_a_matt_surface_is_proportional_to_its_albedo() -> None:
    torch.testing.assert_close(one(0.6), 2 * one(0.3))


def test_a_black_matt_surface_stays_black() -> None:
    assert one(0.0).abs().max() == 0


def test_less_openness_gives_less_light() -> None:
    light = [one(openness=openness).sum().item() for openness in (0.0, 0.3, 0.6, 1.0)]
    assert light == sorted(light)
    assert light[0] < 0.5 * light[-1]


def test_a_surface_facing_up_is_brighter_than_one_facing_down() -> None:
    down = [0.0, -1, 0]
    assert (one(normal=UP, towards=UP) > one(normal=down, towards=down)).all()


def test_light_wraps_further_around_skin_and_furthest_in_red() -> None:
    """At a right angle to the key light, cloth receives less light than skin."""
    side = torch.linalg.cross(torch.tensor(LIGHTS[0]), torch.tensor(UP))
    side = (side / side.norm()).tolist()
    extra = one(normal=side, towards=side, shine=0.2) - one(normal=side, towards=side, shine=0.02)
    assert extra[0] > extra[2]
    assert extra[0] > 0


def test_wet_surfaces_have_small_highlights() -> None:
    """Both reflect at the half vector of light and camera; a little off, only the dull one does."""
    half = torch.tensor(LIGHTS[0]) + torch.tensor(AHEAD)
    half = half / half.norm()
    off = half + 0.35 * torch.tensor(UP)
    off = off / off.norm()
    wet = [one(0.0, normal=n.tolist(), shine=1.0).sum().item() for n in (half, off)]
    dull = [one(0.0, normal=n.tolist(), shine=0.5).sum().item() for n in (half, off)]
    assert wet[0] > dull[0]
    assert wet[1] / wet[0] < 0.1 < dull[1] / dull[0]


def test_the_tone_curve_rises_from_black_to_white() -> None:
    curve = tone_curve()
    assert curve[0] == 0
    assert (curve.diff() >= 0).all()
    assert curve[-1] == 255
    assert to_display(torch.tensor([-1.0, 0.0, 100.0])).tolist() == [0, 0, 255]


def test_the_cubic_approximates_the_srgb_curve() -> None:
    display = torch.linspace(0, 1, 256)
    exact = torch.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
    assert (to_linear(display) - exact).abs().max() < 0.003


def test_textures_are_interpolated_between_texel_centres() -> None:
    texture = torch.zeros(4, 4, 3, dtype=torch.uint8)
    texture[1, 2] = 255
    centre = torch.tensor([[2.5 / 4, 1.5 / 4]])
    torch.testing.assert_close(sample_texture(texture, centre)[0], torch.ones(3), atol=1e-3, rtol=0)
    half_way = torch.tensor([[2.0 / 4, 1.5 / 4]])
    expected = to_linear(torch.full((3,), 0.5))
    torch.testing.assert_close(sample_texture(texture, half_way)[0], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("at", [[0.0, 0.0], [1.0, 1.0], [-0.5, 2.0]])
def test_coordinates_outside_a_texture_are_clamped_to_its_border(at: list[float]) -> None:
    texture = torch.full((4, 4, 3), 255, dtype=torch.uint8)
    light = sample_texture(texture, torch.tensor([at]))
    torch.testing.assert_close(light, torch.ones(1, 3), atol=1e-5, rtol=0)


def test_the_default_background_is_brightest_in_the_middle_and_deterministic() -> None:
    camera = looking_at("front", eye=(0, 0, 9), target=(0, 0, 0), focal=1, width=256, height=256)
    wall = wall_background(camera)
    assert wall.shape == (256, 256, 3)
    middle, corner = (255 * torch.tensor(colour) for colour in WALL)
    assert (wall[100:120, 90:110].float().mean((0, 1)) - middle).abs().max() < 3
    assert (wall[-8:, -8:].float().mean((0, 1)) - corner).abs().max() < 25
    assert torch.equal(wall, wall_background(camera))
