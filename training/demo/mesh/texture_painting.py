"""Procedural texture of a person, a function of the position of each texel at rest.

Letters: N texels, S side of the texture. Colours are linear; only the final texture is sRGB.
Lengths are decimetres; "eye" is the centre of the left eyeball, the face is nearly symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.spatial import cKDTree

from models.avatar.raster.rasterise import rasterise
from training.demo.mesh import assets
from training.demo.mesh.clothes import collar_height
from training.demo.mesh.head import TEETH, lash_roots
from training.demo.mesh.skeleton import SIDES, unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.demo.mesh.assembly import Assembly
    from training.demo.mesh.geometry import Points
    from training.demo.mesh.head import Body

SIDE = 2048  # texels
FINER = 1  # supersampling factor per side


@dataclass(frozen=True)
class Texels:
    """The texels of one part."""

    body: Body
    at: Points  # [N, 3] in the rest pose
    uv: Points  # [N, 2] in the texture map of the person, v upwards
    source_uv: Points  # [N, 2] in the map of the base mesh

    @property
    def eye(self) -> Points:
        return self.body.rig.heads["eye.L"]

    def mask(self, name: str) -> Points:
        """Sample a mask of the source in the map of the base mesh, [N], 0 to 1."""
        path = assets.data_folder() / assets.TEXTURES / f"mpfb_{name}.jpg"
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("L")).astype(np.float64) / 255
        height, width = image.shape
        rows = (1 - self.source_uv[:, 1]) * height - 0.5
        columns = self.source_uv[:, 0] * width - 0.5
        return np.asarray(map_coordinates(image, [rows, columns], order=1, mode="nearest"))


def linear(code: str) -> Points:
    """Convert a web colour, "D9A98C", to linear red, green and blue."""
    display = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def mix(under: Points, over: Points, share: Points) -> Points:
    """Blend one colour over another with the weight share [N] -> [N, 3]."""
    return np.asarray(under * (1 - share[:, None]) + over * share[:, None])


def ramp(x: Points, first: float, last: float) -> Points:
    """Smooth step: 0 before first, 1 after last."""
    t = np.clip((x - first) / (last - first), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def noise(at: Points, frequency: float, seed: int, octaves: int = 3) -> Points:
    """Smooth spatial noise, [N], about -2 to 2."""
    rng = np.random.default_rng(seed)
    total, height = np.zeros(len(at)), 1.0
    for octave in range(octaves):
        grid = rng.standard_normal((32, 32, 32))
        coordinates = (at * frequency * 2**octave).T
        total += height * map_coordinates(grid, coordinates, order=1, mode="grid-wrap")
        height *= 0.55
    return total


def paint_texture(body: Body, assembly: Assembly) -> NDArray[np.uint8]:
    """Paint the whole texture, [SIDE, SIDE, 3] sRGB."""
    size = SIDE * FINER
    points = torch.from_numpy(assembly.uv).float()
    normalised = torch.stack(
        [1 - 2 * points[:, 0], 2 * points[:, 1] - 1, torch.ones(len(points))], dim=-1
    )
    raster = rasterise(
        normalised[None], torch.from_numpy(assembly.uv_faces), height=size, width=size
    )
    covered = (raster.faces[0] >= 0).numpy()
    face = raster.faces[0].numpy()[covered]
    weights = raster.weights[0].numpy()[covered].astype(np.float64)[..., None]
    corner = assembly.faces[face]
    at = (assembly.template[corner] * weights).sum(1)
    uv = (assembly.uv[assembly.uv_faces[face]] * weights).sum(1)
    source_uv = (assembly.source_uv[assembly.uv_faces[face]] * weights).sum(1)
    part = assembly.parts[corner[:, 0]]
    colours = np.zeros((len(face), 3))
    for number, name in enumerate(assembly.names):
        on = part == number
        colours[on] = PAINTERS[name](Texels(body, at[on], uv[on], source_uv[on]))
    return _finish(colours, covered)


def _finish(colours: Points, covered: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill gaps, average and convert to sRGB: colours [N, 3] of the covered texels [S, S]."""
    size = len(covered)
    texture = np.zeros((size, size, 3))
    texture[covered] = colours
    rows, columns = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    texture = texture[rows, columns]
    texture = texture.reshape(size // FINER, FINER, size // FINER, FINER, 3).mean((1, 3))
    curve = 1.055 * np.maximum(texture, 1e-6) ** (1 / 2.4) - 0.055
    display = np.where(texture <= 0.0031308, 12.92 * texture, curve)
    return np.asarray((np.clip(display, 0, 1) * 255 + 0.5).astype(np.uint8))


def _around(texels: Texels, x: float, y: float, wide: float, high: float) -> Points:
    """Soft spot on both sides of the face, [N]; x outwards, y upwards from the eye."""
    at, eye = texels.at, texels.eye
    across = (np.abs(at[:, 0]) - x) / wide
    spot = np.exp(-(across**2) - ((at[:, 1] - eye[1] - y) / high) ** 2)
    return np.asarray(spot * (at[:, 2] > eye[2] - 0.6))


def paint_skin(texels: Texels) -> Points:
    """Paint skin, lips, lash lines, brows, beard, nails and the shadow under the hair."""
    at, looks = texels.at, texels.body.looks
    skin = looks.skin
    fine = noise(at, 28, 4, 2)
    patches = np.clip(0.25 + 0.13 * noise(at, 1.2, 1) + 0.08 * noise(at, 7, 2), 0, 1)
    colour = mix(np.tile(linear(skin.base[0]), (len(at), 1)), linear(skin.base[1]), patches)
    colour *= 1 + 0.03 * fine[:, None]
    ears, eye_x = np.clip(texels.mask("ears"), 0, 1), float(texels.eye[0])
    for code, strength, x, *spot in skin.blush:
        around = _around(texels, eye_x if x is None else x, *spot)
        colour = mix(colour, linear(code), strength * around)
    colour = mix(colour, linear(skin.ears), 0.35 * ears)
    freckles = (noise(at, 22, 9, 1) > 2.35) * _around(texels, 0.3, -0.35, 0.35, 0.16)
    colour = mix(colour, linear("A56B55"), skin.freckles * freckles)
    lips = ramp(texels.mask("lips"), 0.25, 0.75)
    if skin.beard:
        colour = mix(colour, linear(looks.hair.roots), skin.beard * _beard(texels) * (1 - lips))
    red, strength = skin.lips
    colour = mix(colour, linear(red) * (1 + 0.05 * fine[:, None]), strength * lips)
    colour = mix(colour, linear("3E1517"), 0.95 * ramp(texels.mask("inside-mouth"), 0.10, 0.4))
    colour = mix(colour, linear(skin.nails), 0.5 * ramp(texels.mask("fingernails"), 0.3, 0.7))
    colour = mix(colour, linear("1E120C"), skin.lashes * _lash_line(texels))
    colour = mix(colour, linear(looks.brows.colour), _brows(texels))
    return mix(
        colour, linear(looks.hair.roots), _hair_roots(texels) * (1 - np.clip(3 * ears, 0, 1))
    )


def _lash_line(texels: Texels) -> Points:
    distance, _ = map(np.asarray, cKDTree(lash_roots(texels.body)).query(texels.at))
    upper = texels.at[:, 1] > texels.eye[1] - 0.02
    wide = np.where(upper, 0.026, 0.012)
    inner = ramp(np.abs(texels.at[:, 0]), texels.eye[0] - 0.16, texels.eye[0] - 0.06)
    dark = np.where(upper, 0.35 + 0.58 * inner, 0.25 + 0.25 * inner)
    return np.asarray(dark * np.exp(-((distance / wide) ** 2)))


def _brows(texels: Texels) -> Points:
    """Darkness of the brows, [N]: strokes of hair along an arch."""
    at, eye, brows = texels.at, texels.eye, texels.body.looks.brows
    across = np.abs(at[:, 0])
    along = (across - 0.10) / 0.46  # 0 at the nose, 1 at the temple
    clamped = np.clip(along, 0, 1)
    arch = eye[1] + brows.height + brows.arch * np.sin(2 * clamped) - 0.06 * ramp(clamped, 0.6, 1)
    distance = (at[:, 1] - arch) / (brows.width * (1 - 0.62 * clamped))
    slant = across + (0.9 - 0.5 * clamped) * (at[:, 1] - arch)
    stroke = 0.5 + 0.5 * np.sin(430 * slant + 2.5 * noise(at, 9, 2))
    ends = ramp(along, -0.10, 0.22) * (1 - ramp(along, 0.80, 1.06))
    dark = (0.66 + 0.24 * stroke) * ends * (at[:, 2] > eye[2] - 0.25)
    return np.asarray(dark * np.exp(-(distance**2)))


def _beard(texels: Texels) -> Points:
    """Density of stubble, [N]: moustache, chin and jaw, up to the hair before the ears."""
    at, eye = texels.at, texels.eye
    across, below = np.abs(at[:, 0]), at[:, 1] - eye[1]
    edge = np.interp(across, (0.0, 0.16, 0.30, 0.55, 0.80), (-0.50, -0.53, -0.68, -0.50, -0.15))
    edge = edge + 0.02 * noise(at, 8, 21, 2)
    jaw = ramp(edge - below, -0.06, 0.16) * (1 - ramp(-below, 1.10, 1.40))
    beside = ramp(at[:, 2], float(eye[2]) - 0.95, float(eye[2]) - 0.75)
    hairs = np.clip(0.75 + 0.18 * noise(at, 34, 22, 2), 0.3, 1)
    return np.asarray(jaw * beside * hairs)


def _hair_roots(texels: Texels) -> Points:
    """Darkness of the scalp under and near the hair, [N], for a soft hairline."""
    from training.demo.mesh.hair import above_hairline

    at = texels.at
    height, angle = above_hairline(texels.body, at)
    ragged = 0.03 * np.sin(37 * angle) * np.sin(23.3 * angle + 1) + 0.012 * noise(at, 9, 8, 2)
    on_head = at[:, 1] > texels.eye[1] - 0.75
    return np.asarray(0.9 * ramp(height + ragged, -0.12, 0.05) * on_head)


def paint_eyes(texels: Texels) -> Points:
    """Paint the white, iris and pupil of the eyes, with a fixed highlight."""
    at, eye = texels.at, texels.eye
    middle = np.stack(
        [np.sign(at[:, 0]) * eye[0], np.full(len(at), eye[1]), np.full(len(at), eye[2])], axis=1
    )
    direction = unit(at - middle)
    degrees = np.degrees(np.arccos(np.clip(direction[:, 2], -1, 1)))
    around = np.arctan2(direction[:, 1], direction[:, 0])
    colour = mix(
        np.tile(linear("EDE8E3"), (len(at), 1)), linear("D9A79B"), 0.4 * ramp(degrees, 38, 75)
    )
    fibres = 0.5 + 0.5 * np.sin(around * 46 + 2 * noise(at, 20, 6, 1))
    dark, light, ring = texels.body.looks.iris
    warm = fibres * ramp(degrees, 9, 17) * (1 - ramp(degrees, 18, 25)) * 0.85
    iris = mix(np.tile(linear(dark), (len(at), 1)), linear(light), warm)
    iris = mix(iris, linear(ring), ramp(degrees, 21, 26))
    iris = mix(iris, linear("050404"), 1 - ramp(degrees, 9.5, 11))
    colour = mix(colour, iris, 1 - ramp(degrees, 25.2, 27.2))
    lid_shadow = 1 - 0.55 * ramp(direction[:, 1], 0.05, 0.42)
    colour *= lid_shadow[:, None]
    highlight = ramp(-np.hypot(direction[:, 0] + 0.10, direction[:, 1] - 0.11), -0.070, -0.045)
    return mix(colour, np.full(3, 0.95), 0.95 * highlight * (direction[:, 2] > 0))


def paint_teeth(texels: Texels) -> Points:
    """Paint teeth with dark gaps, gums, and shadow towards the cheeks."""
    along = (texels.uv[:, 0] - 0.84) / 0.10 * 2 - 1
    upper = texels.uv[:, 1] > 0.525
    height = (texels.uv[:, 1] - np.where(upper, 0.53, 0.50)) / 0.02
    tooth = np.abs(np.sin(np.arcsin(np.clip(along, -1, 1)) * TEETH))
    colour = np.tile(linear("EFE8DA"), (len(along), 1))
    colour *= (0.72 + 0.28 * np.clip(tooth / 0.35, 0, 1))[:, None]
    lip_shadow = 1 - 0.35 * ramp(height, 0.05, 0.60)
    colour *= lip_shadow[:, None]
    colour = mix(colour, linear("A8605A"), ramp(height, 0.62, 0.80))
    shadow = (1 - 0.75 * np.abs(along) ** 2.2) * np.where(upper, 1.0, 0.8)
    return np.asarray(colour * shadow[:, None])


def paint_tongue(texels: Texels) -> Points:
    """Paint the tongue, dark at its root."""
    depth = texels.at[:, 2]
    light = 0.15 + 0.40 * ramp(depth, float(depth.min()), float(depth.max()))
    return np.asarray(linear("9A4844") * light[:, None])


def paint_sweater(texels: Texels) -> Points:
    """Paint soft wool with darker collar, cuffs and hem."""
    at, clothes = texels.at, texels.body.looks.clothes
    wool, rim = linear(clothes.wool), linear(clothes.rim)
    colour = np.tile(wool, (len(at), 1)) * (1 + 0.035 * noise(at, 9, 11, 2))[:, None]
    near_neck = np.abs(at[:, 0]) < 1.3
    neck, above = texels.body.rig.heads["neck01"], collar_height(texels.body, at)
    collar = near_neck * ramp(above, -0.24, -0.21)
    around = np.arctan2(at[:, 0], at[:, 2] - neck[2])
    colour = mix(colour, rim, 0.9 * collar)
    colour *= (1 - 0.15 * collar * (np.sin(around * 85) > 0))[:, None]
    colour *= (1 - 0.3 * near_neck * np.exp(-(((above + 0.225) / 0.02) ** 2)))[:, None]
    hem = (1 - ramp(at[:, 1], -0.20, -0.17)) * (np.abs(at[:, 0]) < 2.2)
    colour = mix(colour, rim, 0.8 * hem)
    for side in SIDES:
        wrist, elbow = (texels.body.rig.heads[f"{b}.{side}"] for b in ("wrist", "lowerarm01"))
        along = (at - wrist) @ unit(wrist - elbow)
        sleeve = (np.abs(at[:, 0]) > 2.5) & (np.sign(at[:, 0]) == np.sign(wrist[0]))
        colour = mix(colour, rim, clothes.cuff * ramp(along, -0.62, -0.58) * sleeve)
        colour *= (1 - 0.3 * np.exp(-(((along + 0.6) / 0.03) ** 2)) * sleeve)[:, None]
    return colour


def paint_trousers(texels: Texels) -> Points:
    """Paint plain dark cloth."""
    grain = 1 + 0.06 * noise(texels.at, 10, 12, 2)
    return np.asarray(linear(texels.body.looks.clothes.trousers) * grain[:, None])


def paint_hair(texels: Texels) -> Points:
    """Paint streaks along the strands; the v axis of the map runs around the whorl."""
    around = ((texels.uv[:, 1] - 0.70) / 0.25) % 1.0
    along = texels.uv[:, 0]

    def streaks(count: int, seed: int, wobble: float) -> Points:
        heights = np.random.default_rng(seed).standard_normal(count + 1)
        position = (around * count + wobble * np.sin(along * 31 + seed)) % count
        first = position.astype(int)
        share = position - first
        return np.asarray(heights[first] * (1 - share) + heights[(first + 1) % count] * share)

    streak = 0.25 * streaks(70, 1, 0.4) + 0.45 * streaks(230, 2, 0.6) + 0.5 * streaks(480, 3, 0.8)
    light = np.clip(0.32 + 0.17 * streak, 0, 1)
    dark, bright = texels.body.looks.hair.colours
    colour = mix(np.tile(linear(dark), (len(around), 1)), linear(bright), light)
    return np.asarray(colour * np.clip(1 + 0.09 * streak, 0.5, 1.5)[:, None])


PAINTERS: dict[str, Callable[[Texels], Points]] = {
    "skin": paint_skin,
    "eyes": paint_eyes,
    "teeth": paint_teeth,
    "tongue": paint_tongue,
    "sweater": paint_sweater,
    "trousers": paint_trousers,
    "hair": paint_hair,
    "bun": paint_hair,
}
