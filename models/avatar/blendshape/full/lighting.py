"""Lights, materials and tables of the shading `full`.

Lengths are decimetres, colours linear unless marked sRGB, directions point towards a light; the
camera looks along -z. A key light with a shadow stands above on the left, a large fill light on the
right, a back light behind; a small light near the camera is seen in the eyes only.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.avatar.blendshape.shading import TONE_LIMIT, TONE_STEPS
from models.avatar.camera import Camera, looking_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.avatar.blendshape.shading import Colour


def _unit(x: float, y: float, z: float) -> Colour:
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


CLOTH, SKIN, EYE, MOUTH, HAIR = range(5)
KINDS = {
    "skin": SKIN,
    "eyes": EYE,
    "teeth": MOUTH,
    "tongue": MOUTH,
    "hair": HAIR,
    "bun": HAIR,
}  # of parts; others are cloth

KEY = _unit(-0.55, 0.62, 0.62)
FILL = _unit(0.80, 0.15, 0.60)
BACK = _unit(0.55, 0.50, -0.72)
EYE_LIGHT = _unit(-0.30, 0.36, 0.90)
KEY_COLOUR = (2.32, 2.08, 1.90)
FILL_COLOUR = (0.27, 0.31, 0.37)
BACK_COLOUR = (0.95, 1.02, 1.15)
SKY = (0.26, 0.28, 0.31)
GROUND = (0.13, 0.115, 0.105)
BOUNCE = (0.50, 0.28, 0.24)  # share of occluded light that neighbours reflect
CLOTH_WRAP = 0.12
FILL_WRAP = 0.5

LAMP_DISTANCE = 40.0  # of the key light from the person
LAMP_REACH = 3.6  # half the side of the square that the shadow map covers
LAMP_BELOW = 1.35  # centre of this square below the middle of the face
SHADOW_SIDE = 384  # texels
SHADOW_REACHES = ((2, 2), (8, 8))  # half widths of the means, in texels: sharp and wide
SHADOW_FAR = 12.0  # largest depth in the map
SHADOW_EDGE = 0.08  # of the side of the map, over which shadows end at its border
SHADOW_EMPTY = 7.0  # depth of texels without a surface
SHADOW_BIAS = 0.02
SHADOW_OFFSET = 0.03  # along the normal
SHADOW_VARIANCE = 2e-4  # smallest variance, square decimetres
SHADOW_BLEED = 0.18  # shares of light below this count as 0
SHADOW_GAP = 1.2  # distance of a blocker from which its shadow is as soft as the wide mean

OCCLUSION_RADIUS = 0.75
OCCLUSION_TAPS = 8
OCCLUSION_STRENGTH = 1.7
OCCLUSION_BIAS = 0.10
OCCLUSION_EDGE = 0.25  # difference in depth of another surface
GOLDEN_COS, GOLDEN_SIN = math.cos(2.399963), math.sin(2.399963)

SCATTER_TAPS = 4  # on each side
SCATTER_WIDTH = (0.030, 0.014, 0.008)  # standard deviation of red, green, blue
SCATTER_DEEP = (0.35, 0.25, 0.2)  # share that is not spread
SCATTER_EDGE = 0.12

SKIN_REFLECTANCE = 0.030
SKIN_ROUGH, SKIN_SMOOTH = 0.30, 0.10  # alpha of the lobes, square of the roughness
SKIN_SMOOTH_SHARE = 0.15
PORES = (730.0, 310.0, -270.0, 810.0)  # two directions across the texture, per unit of it
PORE_GLOSS, PORE_SHADE = 0.75, 0.05  # change of highlights and of the albedo
PORE_WIDTH = 0.012
LIP_GLOSS = 0.5
SKIN_SHEEN = 0.10
WET_REFLECTANCE, WET_ROUGH = 0.03, 0.03
TEETH_REFLECTANCE = 0.012
CLOTH_SHEEN = 0.9
HAIR_TINT = (1.40, 0.97, 0.70)  # times half the mean albedo of the person's hair
HAIR_WHITE, HAIR_COLOURED, HAIR_BACK = 0.13, 0.10, 0.05
HAIR_ALBEDO = 0.6
HAIR_ROOT = (0.17, 0.095, 0.062)  # of skin between the first strands of hair of HAIR_MEAN
HAIR_RIM = 0.45
STRANDS = 650  # around the whorl; values in the table
LOCKS = 130  # a divisor of STRANDS; locks around the whorl
HAIR_TURN = 0.25  # of the texture's height, once around the whorl
STRAND_WIDTH = 0.011
STRAND_WAVE = 0.8
CLOTH_GREY = 0.18
HAIR_SHIFT, HAIR_RELIEF = 0.22, 0.55
HAIR_MEAN = 0.045  # mean albedo of the hair for which highlights are declared
HAIR_FRAY = 0.22  # by which strands shift the soft rim

CATCH_INNER, CATCH_OUTER, CATCH_LIGHT = 0.9985, 0.9955, 2.2
EYE_ALBEDO = 0.8
LID_REACH, LID_DARK, LIP_DARK = 0.055, 0.95, 0.60
MOUTH_KEY, MOUTH_OPEN = 0.50, 0.85  # light inside the mouth, where maps are too coarse
MOUTH_WRAP = 0.6  # teeth and gums are translucent
MOUTH_DIM = 0.5  # share of its light that a closed mouth has not
MOUTH_FLOOR = (0.12, 0.030, 0.026)  # added to the albedo: light that gums reflect
LASH_REACH, LASH_DARK = 0.016, 0.75

KNIT_PERIOD, KNIT_ROW = 0.055, 0.045
KNIT_SLOPE, KNIT_SHADE = 0.30, 0.20
KNIT_MEAN = 0.375  # mean depth of the grooves, where pixels do not resolve them
SAME_DEPTH = 0.5  # penalty of another material, when the light of a neighbour is taken

EXPOSURE = 0.49
WALL: tuple[Colour, Colour] = ((0.30, 0.315, 0.335), (0.075, 0.078, 0.088))  # middle, corner; sRGB


@cache
def film_curve() -> Tensor:
    """Display values 0 to 255 of linear light in even steps from 0 to TONE_LIMIT, [TONE_STEPS].

    A toe deepens shadows and a shoulder rolls highlights off, as film does; then the sRGB curve.
    """
    light = torch.linspace(0, TONE_LIMIT, TONE_STEPS, dtype=torch.float64) * EXPOSURE
    light = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    light = light.clamp(0, 1)
    curve = torch.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    )
    return (curve.clamp(0, 1) * 255).float()


def backdrop(camera: Camera) -> Tensor:
    """A dark wall with a pool of light behind the head, [H, W, 3] uint8 sRGB.

    Rounding adds a little noise with a fixed seed, because such an even wall would show bands.
    """
    y = torch.linspace(-1, 1, camera.height)[:, None]
    x = torch.linspace(-1, 1, camera.width)[None] * (camera.width / camera.height)
    glow = torch.exp(-((x - 0.22) ** 2 * 0.9 + (y + 0.18) ** 2 * 1.1))[..., None]
    middle, corner = (torch.tensor(colour) for colour in WALL)
    colour = corner + (middle - corner) * glow
    noise = torch.rand(*colour.shape[:2], 2, generator=torch.Generator().manual_seed(0))
    grain = noise.sum(-1, keepdim=True) - 0.5  # triangular, of one level
    return (colour * 255 + grain).clamp(0, 255).to(torch.uint8)


def strand_table() -> Tensor:
    """Lightness of strands, [STRANDS], -1 to 1, from a fixed seed."""
    return 2 * torch.rand(STRANDS, generator=torch.Generator().manual_seed(1)) - 1


def lamp_of(face: Sequence[float]) -> Camera:
    """The key light as a camera, for a person with the middle of the face at this point [3]."""
    x, y, z = face
    target = (x, y - LAMP_BELOW, z)
    eye = (
        target[0] + LAMP_DISTANCE * KEY[0],
        target[1] + LAMP_DISTANCE * KEY[1],
        target[2] + LAMP_DISTANCE * KEY[2],
    )
    focal = LAMP_DISTANCE / (2 * LAMP_REACH)
    side = SHADOW_SIDE
    return looking_at("key", eye=eye, target=target, focal=focal, width=side, height=side)


NEAREST = LAMP_DISTANCE - SHADOW_FAR / 2  # distance from the lamp at which its map begins


def scatter_step(camera: Camera, distance: float) -> int:
    """Pixels between taps of the scattering, for skin at a distance from the camera."""
    pixels = camera.intrinsics[0][0] / distance
    return max(1, round(2.2 * SCATTER_WIDTH[0] * pixels / SCATTER_TAPS))


def scatter_weights(camera: Camera, distance: float) -> Tensor:
    """Weights of the taps at 0, 1, ... steps from the middle, [SCATTER_TAPS + 1, 3]."""
    pixels, step = camera.intrinsics[0][0] / distance, scatter_step(camera, distance)
    at = torch.arange(SCATTER_TAPS + 1)[:, None] * step / pixels
    weights = torch.exp(-0.5 * (at / torch.tensor(SCATTER_WIDTH)) ** 2)
    weights = weights / (2 * weights.sum(0) - weights[0])
    kept = torch.tensor(SCATTER_DEEP).sqrt()  # both directions together leave this share
    own = torch.zeros_like(weights)
    own[0] = 1
    return weights * (1 - kept) + own * kept
