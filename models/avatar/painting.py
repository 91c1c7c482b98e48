"""The demo person on a picture: posed, projected, lit, in plain torch.

`PlainPainter` is the readable truth and works where warp is not installed; `drawing.KernelPainter`
does the same with kernels. Where nothing but one smooth surface is seen, one of a pixel's samples
is lit and stands for all: only edges, eyes and teeth are worth them all.
Letters: B frames, V vertices, F faces, H and W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.avatar.blendshape import INSIDE_THE_MOUTH
from models.avatar.look import OWN, TRANSPARENT, Look
from models.avatar.rasteriser import Raster, pixel_centres, rasterise_plain, to_normalised
from models.avatar.shading import backdrop, sample_texture, shade, to_display
from models.avatar.skinning import joint_matrices, skin
from models.avatar.texture import smaller_textures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.avatar.blendshape import BlendshapeModel
    from models.avatar.camera import Camera

CALM_DEPTH = 0.06  # decimetres between the samples of a pixel that may share one light
SHARP_SHINE = 0.3  # what shines more has details that are smaller than pixels
SAMPLES = 2  # of a pixel's side, where nothing else is asked for
NEAR = 1.0  # decimetres; what is nearer than this to the camera is not drawn


@dataclass(frozen=True)
class Stance:
    """The person in some frames, before she is posed."""

    rest: Tensor  # [B, V, 3] the rest pose, with a face
    matrices: Tensor  # [B, J, 3, 4] what the joints do
    mouth_light: Tensor  # [B] how bright it is inside the mouth, 0 to 1

    def __len__(self) -> int:
        return len(self.rest)


def take_stance(model: BlendshapeModel, face: Tensor, pose: Tensor) -> Stance:
    """Face codes [B, 256] and pose [B, P] of some frames."""
    rest = model.rest(model.unit_weights(face))
    return Stance(rest, joint_matrices(model.skeleton, pose), model.mouth_light(rest))


class Painter(Protocol):
    """Turns frames into pictures."""

    def paint(
        self,
        stance: Stance,
        cameras: Sequence[Camera],  # all of one height
        frames: Tensor,  # [B, H, W * views, look.channels] uint8, written here
        look: Look = OWN,
    ) -> None: ...


@dataclass(frozen=True)
class Surface:
    """What light needs to know of the person, by face or by vertex."""

    faces: Tensor  # [F, 3] int32
    uv_faces: Tensor  # [F, 3] int32
    uv: Tensor  # [M, 2]
    openness: Tensor  # [V]
    shine: Tensor  # [F]
    parts: Tensor  # [F] int32
    inside: Tensor  # [F] 1 inside the mouth, else 0
    textures: tuple[Tensor, ...]  # [S, S, 3] uint8, then halves of it
    texels: float  # of the first texture, in a decimetre of the face
    middle: tuple[float, float, float]

    def level(self, camera: Camera) -> int:
        """Which texture has texels about as large as the camera's pixels."""
        distance = math.dist(camera.position, self.middle)
        pixels = camera.intrinsics[1][1] / distance  # in a decimetre
        level = round(math.log2(self.texels / pixels))
        return min(max(level, 0), len(self.textures) - 1)


def surface_of(model: BlendshapeModel) -> Surface:
    """The model's surface, with what belongs to a whole face told by face."""
    first = model.faces[:, 0].long()
    parts = model.parts[first]
    inside = [float(name in INSIDE_THE_MOUTH) for name in model.config.part_names]
    return Surface(
        model.faces,
        model.uv_faces,
        model.uv,
        model.openness,
        model.shine[first],
        parts,
        torch.tensor(inside, device=parts.device)[parts.long()],
        smaller_textures(model.texture),
        _texels(model),
        tuple(model.template.mean(0).tolist()),
    )


def _texels(model: BlendshapeModel) -> float:
    """How many texels lie along a decimetre of what the face units move, by the median."""
    on_face = torch.isin(model.faces[:, 0].long(), model.moving)
    flat = torch.nn.functional.pad(model.uv, (0, 1))[model.uv_faces[on_face].long()]
    solid = model.template[model.faces[on_face].long()]
    density = (_double_areas(flat) / _double_areas(solid).clamp(min=1e-9)).median()
    return max(float(density.sqrt()) * len(model.texture), 1.0)


def _double_areas(corners: Tensor) -> Tensor:
    a, b, c = corners.unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1)


def vertex_normals(posed: Tensor, faces: Tensor) -> Tensor:
    """Weighted by the areas of the faces around: posed [B, V, 3], faces [F, 3] -> [B, V, 3]."""
    a, b, c = (posed[:, faces[:, i].long()] for i in range(3))
    across = torch.linalg.cross(b - a, c - a)  # [B, F, 3]
    total = torch.zeros_like(posed)
    for i in range(3):
        total.index_add_(1, faces[:, i].long(), across)
    return total / (total.norm(dim=-1, keepdim=True) + 1e-12)


class PlainPainter:
    """Plain torch on any device."""

    def __init__(self, model: BlendshapeModel) -> None:
        self.model = model
        self.surface = surface_of(model)

    def paint(
        self, stance: Stance, cameras: Sequence[Camera], frames: Tensor, look: Look = OWN
    ) -> None:
        model = self.model
        posed = skin(stance.rest, model.skin_weights, model.skin_joints, stance.matrices)
        normals = vertex_normals(posed, self.surface.faces)
        first = 0
        for camera in cameras:
            view = slice(first, first + camera.width)
            for b in range(len(stance)):
                dim = 1 - self.surface.inside * (1 - stance.mouth_light[b])  # [F]
                frames[b, :, view] = self._view(posed[b], normals[b], dim, camera, look)
            first = view.stop

    def _view(
        self, posed: Tensor, normals: Tensor, dim: Tensor, camera: Camera, look: Look
    ) -> Tensor:
        """posed and normals [V, 3], dim [F] -> [H, W, look.channels] uint8."""
        samples = look.samples or SAMPLES
        height, width = camera.height * samples, camera.width * samples
        points = to_normalised(camera, posed[None])
        raster = rasterise_plain(
            points, self.surface.faces, height=height, width=width, near=NEAR, front_only=True
        )
        back = behind(camera, look).to(posed.device).float()
        picture = back.repeat_interleave(samples, 0).repeat_interleave(samples, 1)
        seen = raster.faces[0] >= 0
        calm = self._calm(raster, samples)
        lit = seen & ~_all_but_first(calm, samples)
        picture[lit] = self._lit(raster, normals, dim, camera, lit)
        first = picture[::samples, ::samples]
        shown = torch.where(calm[..., None], first, _pixel_means(picture, samples))
        if look.background == TRANSPARENT:  # the colour of what is seen, and how much that is
            share = _pixel_means(seen[..., None].float(), samples)
            shown = torch.cat([shown / share.clamp(min=samples**-2), 255 * share], dim=-1)
        return (shown + 0.5).to(torch.uint8)

    def _calm(self, raster: Raster, samples: int) -> Tensor:
        """[H, W] do all samples of a pixel see the same smooth surface?"""
        face, depth = (_pixels(x, samples) for x in (raster.faces[0].long(), raster.depth[0]))
        part = self.surface.parts[face.clamp(min=0)]
        same = (face >= 0).all(-1) & (part == part[..., :1]).all(-1)
        soft = self.surface.shine[face[..., 0].clamp(min=0)] < SHARP_SHINE
        return same & soft & (depth.amax(-1) - depth.amin(-1) < CALM_DEPTH)

    def _lit(
        self, raster: Raster, normals: Tensor, dim: Tensor, camera: Camera, where: Tensor
    ) -> Tensor:
        """Display values of the samples in where [H, W] -> [N, 3]."""
        surface = self.surface
        face, weights = raster.faces[0][where].long(), raster.weights[0][where][..., None]
        corner = surface.faces[face].long()
        normal = normalize((normals[corner] * weights).sum(1), dim=-1)
        openness = (surface.openness[corner] * weights[..., 0]).sum(1)
        uv = (surface.uv[surface.uv_faces[face].long()] * weights).sum(1)
        towards = -self._rays(camera, where)
        albedo = sample_texture(surface.textures[surface.level(camera)], uv)
        light = shade(albedo, normal, towards, openness, surface.shine[face])
        return to_display(light * dim[face, None])

    def _rays(self, camera: Camera, where: Tensor) -> Tensor:
        """Unit vectors from the camera through the samples in where [H, W] -> [N, 3]."""
        row, column = where.nonzero(as_tuple=True)
        x, y = pixel_centres(row, column, *where.shape)
        half = min(camera.width, camera.height) / 2
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
        right = (camera.width / 2 - x * half - cx) / fx
        down = (camera.height / 2 - y * half - cy) / fy
        ray = torch.stack([right, down, torch.ones_like(right)], dim=-1)
        return normalize(ray @ torch.tensor(camera.rotation, device=ray.device), dim=-1)


def behind(camera: Camera, look: Look) -> Tensor:
    """What a picture starts from, [H, W, 3] uint8 sRGB: nothing where it is to be transparent."""
    if look.background is None:
        return backdrop(camera)
    colour = (0, 0, 0) if look.background == TRANSPARENT else look.background
    shape = (camera.height, camera.width, 3)
    return torch.tensor(colour, dtype=torch.uint8).expand(shape).contiguous()


def _pixels(picture: Tensor, samples: int) -> Tensor:
    """[samples * H, samples * W] -> the samples of each pixel, [H, W, samples ** 2]"""
    height, width = picture.shape[0] // samples, picture.shape[1] // samples
    blocks = picture.view(height, samples, width, samples).transpose(1, 2)
    return blocks.reshape(height, width, samples**2)


def _pixel_means(picture: Tensor, samples: int) -> Tensor:
    """[samples * H, samples * W, C] -> [H, W, C]"""
    height, width, channels = picture.shape
    shape = (height // samples, samples, width // samples, samples, channels)
    return picture.view(shape).sum((1, 3)) / samples**2


def _all_but_first(pixels: Tensor, samples: int) -> Tensor:
    """[H, W] -> its samples [samples * H, samples * W], without each pixel's first one."""
    spread = pixels.repeat_interleave(samples, 0).repeat_interleave(samples, 1)
    spread[::samples, ::samples] = False
    return spread
