"""Renderer of the shading `full` with warp kernels. Importing it requires warp.

Letters: B frames, V vertices, F faces, H and W pixels, S side of the shadow map.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.avatar.blendshape.full import lighting
from models.avatar.blendshape.full.tables import tables_of
from models.avatar.blendshape.surface import NEAR
from models.avatar.raster.types import NOTHING
from models.avatar.raster.warp import drawing_kernel, kernel_module, wp

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.camera import Camera

    Launch = Callable[[Any, tuple[int, ...], list[Any]], None]


@cache
def _full_kernels() -> Any:
    return kernel_module("models.avatar.blendshape.full.kernels")


class FullOnDevice:
    """Tables of the shading `full` as warp arrays, shared by all painters of one person."""

    def __init__(self, model: BlendshapeModel, view: Any) -> None:
        """view: makes the struct of a camera."""
        self.kernels, self.tables, self.view = _full_kernels(), tables_of(model), view
        tables, materials = self.tables, self.kernels.Materials()
        materials.kind = wp.from_torch(tables.kind.contiguous())
        materials.openness = wp.from_torch(tables.openness.contiguous())
        materials.across = wp.from_torch(tables.across.contiguous(), dtype=wp.vec3)
        materials.along = wp.from_torch(tables.along.contiguous(), dtype=wp.vec3)
        materials.root = wp.from_torch(tables.root.contiguous())
        materials.hair_mean = tables.hair_mean
        strands = lighting.strand_table().to(model.template.device)
        materials.strands = wp.from_torch(strands)
        self.materials = materials
        self.surfaces: list[Any] = []  # of each texture, with the tone curve of `full`
        self.lamp = view(lighting.lamp_of(tables.face))

    def bend(self, normals: Tensor) -> None:
        """Give the rim of the hair the normals of the hair beside it: normals [B, V, 3]."""
        normals[:, self.tables.rim] = normals[:, self.tables.rim_source]


class Targets:
    """Buffers of one size."""

    def __init__(self, kernels: Any, device: torch.device, shape: tuple[int, int, int]) -> None:
        count, height, width = shape
        half = (count, height // 2, width // 2)

        def floats(*size: int) -> Any:
            return wp.from_torch(torch.zeros(size, device=device))

        def vectors(*size: int) -> Any:
            return wp.from_torch(torch.zeros(*size, 3, device=device), dtype=wp.vec3)

        def whole(*size: int) -> Any:
            return wp.from_torch(torch.zeros(size, dtype=torch.int32, device=device))

        self.pixels = kernels.Buffers()
        self.pixels.kind, self.pixels.face = whole(*shape), whole(*shape)
        self.pixels.depth = floats(*shape)
        for name in ("weights", "normal", "soft", "light"):
            setattr(self.pixels, name, vectors(*shape))
        self.blurred = vectors(*shape)
        self.open, self.smoothed = floats(*half), floats(*half)


class ShadowMap:
    """Keys and moments of a batch."""

    def __init__(self, device: torch.device, count: int, vertices: int) -> None:
        side = lighting.SHADOW_SIDE
        keys = torch.full((count, side, side), NOTHING, device=device)
        self.keys = wp.from_torch(keys)
        self.points = wp.from_torch(torch.zeros(count, vertices, 3, device=device), dtype=wp.vec3)
        self.sharp, self.wide, self.turned = (
            wp.from_torch(torch.zeros(count, side, side, 2, device=device), dtype=wp.vec2)
            for _ in range(3)
        )


def cast_shadows(
    person: FullOnDevice, launch: Launch, posed: Any, faces: Any, shadows: ShadowMap
) -> None:
    """Fill the shadow map for posed vertices [B, V]."""
    kernels, count, side = person.kernels, posed.shape[0], lighting.SHADOW_SIDE
    rows = (count, side)
    launch(_project(), (count, posed.shape[1]), [posed, person.lamp, shadows.points])
    raster = [shadows.points, faces, NEAR, 1, shadows.keys]
    launch(drawing_kernel(posed), (count, faces.shape[0]), raster)
    launch(kernels.shadow_depths, rows, [shadows.keys, lighting.NEAREST, shadows.sharp])
    source = shadows.sharp
    for target, reaches in zip((shadows.sharp, shadows.wide), lighting.SHADOW_REACHES, strict=True):
        launch(kernels.blur_rows, rows, [source, reaches[0], shadows.turned])
        launch(kernels.blur_rows, rows, [shadows.turned, reaches[1], target])
        source = target


def render_view(
    person: FullOnDevice,
    launch: Launch,
    *,
    surface: Any,
    mesh: tuple[Any, Any, Any],  # posed, points and normals, [B, V] each
    anchor: Tensor,  # [B, 3]
    camera: Camera,
    view: Any,
    mouth_light: Any,
    shadows: ShadowMap,
    targets: Targets,
    samples: int,
    keys: Any,
    first_column: int,
    frames: Any,
) -> None:
    """Shade a view whose faces are drawn into keys, over the background in frames."""
    kernels, pixels = person.kernels, targets.pixels
    posed, points, normals = mesh
    half = min(camera.width, camera.height) / 2
    rows = (posed.shape[0], camera.height)
    half_rows = (posed.shape[0], camera.height // 2)
    materials = person.materials
    scene = [surface, materials, points, normals, view, person.lamp, lighting.NEAREST]
    launch(kernels.find_surface, rows, [*scene, samples, keys, shadows.sharp, shadows.wide, pixels])
    launch(kernels.occlude, half_rows, [view, half, pixels, targets.open])
    launch(kernels.smooth_occlusion, half_rows, [pixels, targets.open, targets.smoothed])
    launch(
        kernels.light_surface,
        rows,
        [materials, view, half, samples, keys, targets.smoothed, pixels],
    )
    distance = math.dist(camera.position, person.tables.face)
    step = lighting.scatter_step(camera, distance)
    taps = lighting.scatter_weights(camera, distance).to(anchor.device)
    weights = wp.from_torch(taps.contiguous(), dtype=wp.vec3)
    launch(kernels.scatter, rows, [pixels, pixels.light, weights, 0, step, targets.blurred])
    launch(kernels.scatter, rows, [pixels, targets.blurred, weights, step, 0, pixels.light])
    launch(
        kernels.finish,
        rows,
        [
            surface,
            materials,
            posed,
            points,
            normals,
            wp.from_torch(anchor.contiguous(), dtype=wp.vec3),
            view,
            mouth_light,
            first_column,
            samples,
            keys,
            pixels,
            frames,
        ],
    )


def _project() -> Any:
    return kernel_module("models.avatar.blendshape.kernels").project
