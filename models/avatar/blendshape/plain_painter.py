"""Renderer of the blendshape avatar in plain torch: skinning, projection, shading.

`PlainPainter` is the reference implementation and works without warp; `warp_painter.KernelPainter`
does the same with kernels. When all samples of a pixel lie on one smooth surface, only the first
is shaded and used for the whole pixel; edges, eyes and teeth get all samples.
Letters: B frames, V vertices, F faces, H and W pixels.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from contracts.avatar_kinds import FULL
from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.blendshape.full.plain import Body, FullView, cast_shadows
from models.avatar.blendshape.full.tables import MaterialTables, outer_surface, tables_of
from models.avatar.blendshape.shading import sample_texture, shade, to_display
from models.avatar.blendshape.surface import (
    NEAR,
    SAMPLES,
    SHARP_SHINE,
    UNIFORM_DEPTH,
    PosedMesh,
    background,
    surface_of,
)
from models.avatar.mesh.skinning import skin
from models.avatar.raster.plain import rasterise_plain
from models.avatar.raster.types import Raster, pixel_centres, to_normalised

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.blendshape.surface import Surface
    from models.avatar.camera import Camera


def vertex_normals(posed: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted vertex normals: posed [B, V, 3], faces [F, 3] -> [B, V, 3]."""
    a, b, c = (posed[:, faces[:, i].long()] for i in range(3))
    across = torch.linalg.cross(b - a, c - a)  # [B, F, 3]
    total = torch.zeros_like(posed)
    for i in range(3):
        total.index_add_(1, faces[:, i].long(), across)
    return total / (total.norm(dim=-1, keepdim=True) + 1e-12)


class PlainPainter:
    """Renders in plain torch on any device."""

    def __init__(self, model: BlendshapeModel) -> None:
        self.model = model
        self.surface = surface_of(model)

    @cached_property
    def tables(self) -> MaterialTables:
        """Tables of the shading `full`, made when it is first used."""
        return tables_of(self.model)

    @cached_property
    def outer(self) -> Surface:
        """Surface of the shading `full`."""
        return outer_surface(self.model, self.surface)

    def render(
        self, mesh: PosedMesh, cameras: list[Camera], frames: Tensor, options: RenderOptions = OWN
    ) -> None:
        """Render all views into frames [B, H, W * views, options.channels] uint8."""
        model = self.model
        full = self.tables if options.shading == FULL else None
        rest = mesh.rest + full.drape if full else mesh.rest
        posed = skin(rest, model.skin_weights, model.skin_joints, mesh.matrices)
        surface = self.outer if full else self.surface
        normals = vertex_normals(posed, surface.faces)
        if full:
            normals[:, full.rim] = normals[:, full.rim_source]
        shadows = [cast_shadows(full, surface, each) for each in posed] if full else []
        first = 0
        for camera in cameras:
            view = slice(first, first + camera.width)
            for b in range(len(posed)):
                if full:
                    anchor, light = posed[b, full.anchor].mean(0), mesh.mouth_light[b]
                    body = Body(posed[b], normals[b], float(light), anchor, shadows[b])
                    frames[b, :, view] = self._full_view(body, camera, options)
                    continue
                dim = 1 - self.surface.inside * (1 - mesh.mouth_light[b])  # [F]
                frames[b, :, view] = self._view(posed[b], normals[b], dim, camera, options)
            first = view.stop

    def _view(
        self, posed: Tensor, normals: Tensor, dim: Tensor, camera: Camera, options: RenderOptions
    ) -> Tensor:
        """One view: posed and normals [V, 3], dim [F] -> [H, W, options.channels] uint8."""

        def shade(raster: Raster, where: Tensor, _: Tensor) -> Tensor:
            return self._shade(raster, normals, dim, camera, where)

        return self._picture(posed, self.surface, camera, options, shade)

    def _full_view(self, body: Body, camera: Camera, options: RenderOptions) -> Tensor:
        """One view in the shading `full` -> [H, W, options.channels] uint8."""
        samples, opaque = options.samples or SAMPLES, options.background != TRANSPARENT

        def shade(raster: Raster, where: Tensor, back: Tensor) -> Tensor:
            view = FullView(self.tables, self.outer, body, camera, raster, samples)
            return view.colours(where, back, opaque=opaque)

        return self._picture(body.posed, self.outer, camera, options, shade)

    def _picture(
        self,
        posed: Tensor,
        surface: Surface,
        camera: Camera,
        options: RenderOptions,
        shade: Callable[[Raster, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Rasterise posed vertices [V, 3] and shade samples over the background.

        shade: (raster, mask of samples, their background [N, 3]) -> display values [N, 3].
        """
        samples = options.samples or SAMPLES
        height, width = camera.height * samples, camera.width * samples
        points = to_normalised(camera, posed[None])
        raster = rasterise_plain(
            points, surface.faces, height=height, width=width, near=NEAR, front_only=True
        )
        back = background(camera, options).to(posed.device).float()
        image = back.repeat_interleave(samples, 0).repeat_interleave(samples, 1)
        covered = raster.faces[0] >= 0
        uniform = self._uniform(raster, samples)
        shaded = covered & ~_all_but_first(uniform, samples)
        image[shaded] = shade(raster, shaded, image[shaded])
        first = image[::samples, ::samples]
        result = torch.where(uniform[..., None], first, _pixel_means(image, samples))
        if options.background == TRANSPARENT:  # straight alpha: mean colour of covered samples
            share = _pixel_means(covered[..., None].float(), samples)
            result = torch.cat([result / share.clamp(min=samples**-2), 255 * share], dim=-1)
        return (result + 0.5).to(torch.uint8)

    def _uniform(self, raster: Raster, samples: int) -> Tensor:
        """Mask [H, W] of pixels whose samples all lie on the same smooth surface."""
        face, depth = (_pixels(x, samples) for x in (raster.faces[0].long(), raster.depth[0]))
        part = self.surface.parts[face.clamp(min=0)]
        same = (face >= 0).all(-1) & (part == part[..., :1]).all(-1)
        soft = self.surface.shine[face[..., 0].clamp(min=0)] < SHARP_SHINE
        return same & soft & (depth.amax(-1) - depth.amin(-1) < UNIFORM_DEPTH)

    def _shade(
        self, raster: Raster, normals: Tensor, dim: Tensor, camera: Camera, where: Tensor
    ) -> Tensor:
        """Display values of the samples selected by the mask where [H, W] -> [N, 3]."""
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
        """Unit vectors from the camera through the samples of the mask where [H, W] -> [N, 3]."""
        row, column = where.nonzero(as_tuple=True)
        x, y = pixel_centres(row, column, *where.shape)
        half = min(camera.width, camera.height) / 2
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
        right = (camera.width / 2 - x * half - cx) / fx
        down = (camera.height / 2 - y * half - cy) / fy
        ray = torch.stack([right, down, torch.ones_like(right)], dim=-1)
        return normalize(ray @ torch.tensor(camera.rotation, device=ray.device), dim=-1)


def _pixels(image: Tensor, samples: int) -> Tensor:
    """Group samples by pixel: [samples * H, samples * W] -> [H, W, samples ** 2]."""
    height, width = image.shape[0] // samples, image.shape[1] // samples
    blocks = image.view(height, samples, width, samples).transpose(1, 2)
    return blocks.reshape(height, width, samples**2)


def _pixel_means(image: Tensor, samples: int) -> Tensor:
    """Mean over the samples of each pixel: [samples * H, samples * W, C] -> [H, W, C]."""
    height, width, channels = image.shape
    shape = (height // samples, samples, width // samples, samples, channels)
    return image.view(shape).sum((1, 3)) / samples**2


def _all_but_first(pixels: Tensor, samples: int) -> Tensor:
    """Mask of all samples but the first of each pixel: [H, W] -> [samples * H, samples * W]."""
    spread = pixels.repeat_interleave(samples, 0).repeat_interleave(samples, 1)
    spread[::samples, ::samples] = False
    return spread
