"""Shading of the blendshape avatar, tone mapping and the default background.

Letters: N points to shade, H and W pixels. Colours are linear unless marked sRGB.
Three directional lights and a sky. Diffuse light wraps around edges, red furthest, because skin
scatters it; openness (ambient occlusion) scales how much light arrives.
`shade` is the reference implementation; `kernels.py` computes the same faster.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from models.avatar.camera import Camera

Colour = tuple[float, float, float]

LIGHTS: tuple[Colour, ...] = (  # directions towards each light; the camera looks along -z
    (-0.484, 0.572, 0.660),
    (0.814, 0.239, 0.527),
    (0.310, 0.532, -0.788),
)
LIGHT_COLOURS: tuple[Colour, ...] = ((1.00, 0.94, 0.86), (0.20, 0.22, 0.26), (0.50, 0.50, 0.52))
SKY: Colour = (0.33, 0.35, 0.38)
GROUND: Colour = (0.20, 0.17, 0.15)
SKIN_WRAP: Colour = (0.35, 0.22, 0.18)
CLOTH_WRAP = 0.22
CLOTH_SHINE = 0.15  # below this a surface does not scatter like skin
WET_SHINE = 0.8  # above this highlights are small and sharp
SKIN_GLOSS, WET_GLOSS = 16, 128  # exponents of the highlights, powers of two
HIGHLIGHT = 0.35
RIM = 0.10  # reflection of light at grazing angles

TONE_STEPS = 16384
TONE_LIMIT = 4.0  # largest linear light in the table
WALL: tuple[Colour, Colour] = ((0.80, 0.78, 0.75), (0.47, 0.46, 0.46))  # middle, corner; sRGB


def shade(
    albedo: Tensor,  # [N, 3]
    normals: Tensor,  # [N, 3] unit length
    towards_camera: Tensor,  # [N, 3] unit length
    openness: Tensor,  # [N]
    shine: Tensor,  # [N]
) -> Tensor:
    """Linear light from each point towards the camera, [N, 3]."""
    facing = (normals * towards_camera).sum(-1, keepdim=True).clamp(min=0)
    openness, shine = openness[:, None], shine[:, None]
    sky = 0.5 + 0.5 * normals[:, 1:2]
    ground = _colour(GROUND, albedo)
    diffuse = (ground + (_colour(SKY, albedo) - ground) * sky) * openness
    wrap = torch.where(shine < CLOTH_SHINE, CLOTH_WRAP, _colour(SKIN_WRAP, albedo))
    highlight = torch.zeros_like(shine)
    for towards, colour in zip(LIGHTS, LIGHT_COLOURS, strict=True):
        light = _colour(towards, albedo)
        lit = (normals * light).sum(-1, keepdim=True)
        wrapped = ((lit + wrap) / (1 + wrap)).clamp(min=0)
        diffuse = diffuse + _colour(colour, albedo) * wrapped * (0.35 + 0.65 * openness)
        half = torch.nn.functional.normalize(light + towards_camera, dim=-1)
        mirrored = (normals * half).sum(-1, keepdim=True).clamp(min=0)
        gloss = torch.where(shine > WET_SHINE, mirrored**WET_GLOSS, mirrored**SKIN_GLOSS)
        highlight = highlight + torch.where(lit > 0, shine * colour[0] * gloss * openness, 0.0)
    rim = (1 - facing) ** 4 * RIM * openness
    return (albedo + rim) * diffuse + HIGHLIGHT * highlight


@cache
def tone_curve() -> Tensor:
    """Display values 0 to 255 of linear light in even steps from 0 to TONE_LIMIT, [TONE_STEPS].

    A soft shoulder keeps highlights from clipping; the sRGB curve follows.
    """
    light = torch.linspace(0, TONE_LIMIT, TONE_STEPS, dtype=torch.float64)
    light = light * (1 + light / 6) / (1 + 0.55 * light) * 1.15
    curve = torch.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    )
    return (curve.clamp(0, 1) * 255).float()


def to_display(light: Tensor, curve: Tensor | None = None) -> Tensor:
    """Map linear light to display values 0 to 255, not yet rounded, in the same shape.

    curve: [TONE_STEPS], by default `tone_curve`.
    """
    step = (light * ((TONE_STEPS - 1) / TONE_LIMIT)).clamp(0, TONE_STEPS - 1).long()
    return (tone_curve() if curve is None else curve).to(light.device)[step]


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Linear albedo [N, 3]: texture [S, S, 3] uint8 sRGB, uv [N, 2] with v downwards.

    Bilinear interpolation between texel centres.
    """
    height, width = texture.shape[:2]
    limits = torch.tensor([width, height], device=uv.device)
    at = torch.minimum((uv * limits - 0.5).clamp(min=0), limits - 1.001)
    first = at.long()
    across, down = (at - first).unbind(-1)
    x, y = first.unbind(-1)
    upper = _mix(texture[y, x], texture[y, x + 1], across)
    lower = _mix(texture[y + 1, x], texture[y + 1, x + 1], across)
    return to_linear(_mix(upper, lower, down) / 255)


def to_linear(display: Tensor) -> Tensor:
    """Convert sRGB, 0 to 1, to linear by a cubic; the error is below 0.003."""
    return display * (display * (display * 0.305306011 + 0.682171111) + 0.012522878)


def wall_background(camera: Camera) -> Tensor:
    """The default background: a plain wall with a soft light, [H, W, 3] uint8 sRGB.

    Rounding adds a little noise with a fixed seed, because such an even wall would show bands.
    """
    y = torch.linspace(-1, 1, camera.height)[:, None]
    x = torch.linspace(-1, 1, camera.width)[None] * (camera.width / camera.height)
    glow = torch.exp(-((x + 0.25) ** 2 + (y + 0.2) ** 2) * 0.9)[..., None]
    middle, corner = (torch.tensor(colour) for colour in WALL)
    colour = corner + (middle - corner) * glow
    grain = torch.rand(*colour.shape[:2], 1, generator=torch.Generator().manual_seed(0))
    return (colour * 255 + grain).clamp(0, 255).to(torch.uint8)


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    a, b = a.float(), b.float()
    return a + (b - a) * share[:, None]


def _colour(colour: Colour, like: Tensor) -> Tensor:
    return torch.tensor(colour, dtype=like.dtype, device=like.device)
