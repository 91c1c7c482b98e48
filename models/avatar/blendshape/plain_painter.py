"""The demo person on a picture: posed, projected, lit, in plain torch.

`PlainPainter` is the readable truth and works where warp is not installed; `drawing.KernelPainter`
does the same with kernels. Where nothing but one smooth surface is seen, one of a pixel's samples
is lit and stands for all: only edges, eyes and teeth are worth them all.
Letters: B frames, V vertices, F faces, H and W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.blendshape.shading import sample_texture, shade, to_display
from models.avatar.blendshape.surface import (
    CALM_DEPTH,
    NEAR,
    SAMPLES,
    SHARP_SHINE,
    PosedMesh,
    behind,
    surface_of,
)
from models.avatar.mesh.skinning import skin
from models.avatar.raster.plain import rasterise_plain
from models.avatar.raster.types import Raster, pixel_centres, to_normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.camera import Camera


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
        self, mesh: PosedMesh, cameras: Sequence[Camera], frames: Tensor, look: RenderOptions = OWN
    ) -> None:
        model = self.model
        posed = skin(mesh.rest, model.skin_weights, model.skin_joints, mesh.matrices)
        normals = vertex_normals(posed, self.surface.faces)
        first = 0
        for camera in cameras:
            view = slice(first, first + camera.width)
            for b in range(len(posed)):
                dim = 1 - self.surface.inside * (1 - mesh.mouth_light[b])  # [F]
                frames[b, :, view] = self._view(posed[b], normals[b], dim, camera, look)
            first = view.stop

    def _view(
        self, posed: Tensor, normals: Tensor, dim: Tensor, camera: Camera, look: RenderOptions
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
