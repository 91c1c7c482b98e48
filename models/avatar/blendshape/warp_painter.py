"""Renderer of the blendshape avatar with warp kernels. Importing it requires warp.

Letters: B frames, V vertices, F faces, H and W pixels.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from contracts.avatar_kinds import FULL
from models.avatar.appearance import OWN, RenderOptions
from models.avatar.blendshape.full.lighting import film_curve
from models.avatar.blendshape.full.painter import (
    FullOnDevice,
    ShadowMap,
    Targets,
    cast_shadows,
    render_view,
)
from models.avatar.blendshape.full.tables import outer_surface
from models.avatar.blendshape.shading import tone_curve
from models.avatar.blendshape.surface import NEAR, SAMPLES, background, surface_of
from models.avatar.raster.types import NOTHING
from models.avatar.raster.warp import drawing_kernel, kernel_module, torch_stream, wp

if TYPE_CHECKING:
    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.blendshape.surface import PosedMesh, Surface
    from models.avatar.camera import Camera


CACHED = 3  # buffers of different shapes that a painter keeps; callers choose the sizes


@cache
def shading_kernels() -> Any:
    """Import the kernels that both shadings use."""
    return kernel_module("models.avatar.blendshape.kernels")


@cache
def _cpu_kernels() -> Any:
    return kernel_module("models.avatar.blendshape.cpu_kernels")


class PersonOnDevice:
    """Mesh and material tables as warp arrays, shared by all painters of one person."""

    def __init__(self, model: BlendshapeModel) -> None:
        self.kernels = shading_kernels()
        self.device = model.template.device
        self.vertices, self.triangles = len(model.template), len(model.faces)
        heaviest = torch.sort(model.skin_weights, dim=1, descending=True)
        joints = model.skin_joints.long().gather(1, heaviest.indices).int()
        self.skin_weights = wp.from_torch(heaviest.values.contiguous())
        self.skin_joints = wp.from_torch(joints.contiguous())
        starts, around = _faces_around(model.faces, self.vertices)
        self.starts, self.around = wp.from_torch(starts), wp.from_torch(around)
        self.source = surface_of(model)
        source = self.source
        self.surfaces = [self._surface(source, each, tone_curve()) for each in source.textures]
        self._model = model

    @cached_property
    def full(self) -> FullOnDevice:
        """Tables of the shading `full`, made when it is first used."""
        full = FullOnDevice(self._model, self.view)
        outer = outer_surface(self._model, self.source)
        full.surfaces += [self._surface(outer, each, film_curve()) for each in outer.textures]
        return full

    def _surface(self, source: Surface, texture: Tensor, tone: Tensor) -> Any:
        surface = self.kernels.Surface()
        surface.faces = wp.from_torch(source.faces.contiguous(), dtype=wp.vec3i)
        surface.uv_faces = wp.from_torch(source.uv_faces.contiguous(), dtype=wp.vec3i)
        surface.uv = wp.from_torch(source.uv.contiguous(), dtype=wp.vec2)
        surface.openness = wp.from_torch(source.openness.contiguous())
        surface.shine = wp.from_torch(source.shine.contiguous())
        surface.parts = wp.from_torch(source.parts.contiguous())
        surface.inside = wp.from_torch(source.inside.contiguous())
        surface.texture = wp.from_torch(texture.contiguous(), dtype=wp.vec3ub)
        surface.tone = wp.from_torch(tone.to(self.device))
        return surface

    def view(self, camera: Camera) -> Any:
        """Convert a camera to the struct of the kernels."""
        half = min(camera.width, camera.height) / 2
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
        view = self.kernels.View()
        view.rotation = wp.mat33(*np.array(camera.rotation).ravel().tolist())
        view.translation = wp.vec3(*camera.translation)
        view.focal = wp.vec2(fx / half, fy / half)
        view.middle = wp.vec2((cx - camera.width / 2) / half, (cy - camera.height / 2) / half)
        return view


def _faces_around(faces: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """Lists of the faces around each vertex: offsets [V + 1] and concatenated lists, int32."""
    corner = faces.long().flatten()
    order = torch.sort(corner, stable=True).indices
    counts = torch.bincount(corner, minlength=vertices)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return starts.int(), (order // 3).int()


class KernelPainter:
    """Renders with warp kernels. It reuses its buffers, so each thread needs its own painter."""

    def __init__(self, person: PersonOnDevice) -> None:
        self.person = person
        self.vertices: dict[int, tuple[Any, Any, Any, Any]] = {}
        self.keys: dict[tuple[int, int, int], Any] = {}
        self.views: dict[tuple[Camera, RenderOptions], tuple[Any, Tensor]] = {}
        self.targets: dict[tuple[int, int, int], Targets] = {}
        self.shadows: dict[int, ShadowMap] = {}

    def render(
        self, mesh: PosedMesh, cameras: list[Camera], frames: Tensor, options: RenderOptions = OWN
    ) -> None:
        """Render all views into frames [B, H, W * views, options.channels] uint8."""
        person, kernels, count = self.person, self.person.kernels, len(mesh)
        samples = options.samples or SAMPLES
        rows = wp.from_torch(mesh.matrices.contiguous(), dtype=wp.vec4)
        full = person.full if options.shading == FULL else None
        posed, by_face, normals, points = self._buffers(count)
        at_rest = mesh.rest + full.tables.drape if full else mesh.rest
        rest = wp.from_torch(at_rest.contiguous(), dtype=wp.vec3)
        mouth_light = wp.from_torch(mesh.mouth_light.contiguous())
        output = wp.from_torch(frames)  # [B, H, W * views, C]
        each = (count, person.vertices)
        faces = (full or person).surfaces[0].faces
        with torch_stream(person.device):
            skin = [rest, person.skin_weights, person.skin_joints, rows, posed]
            self._launch(kernels.skin, each, skin)
            triangles = (count, person.triangles)
            self._launch(kernels.face_normals, triangles, [posed, faces, by_face])
            around = [by_face, person.starts, person.around, normals]
            self._launch(kernels.vertex_normals, each, around)
            first = 0
            if full:
                full.bend(wp.to_torch(normals))
                shadows = self._shadows(count)
                cast_shadows(full, self._launch, posed, faces, shadows)
                anchor = wp.to_torch(posed)[:, full.tables.anchor].mean(1)
            for camera in cameras:
                view, back = self._view(camera, options)
                self._launch(kernels.project, each, [posed, view, points])
                keys = self._keys(count, camera, samples)
                raster = [points, faces, NEAR, 1, keys]
                self._launch(drawing_kernel(points), triangles, raster)
                frames[:, :, first : first + camera.width] = back
                if full:
                    render_view(
                        full,
                        self._launch,
                        surface=full.surfaces[person.source.level(camera)],
                        mesh=(posed, points, normals),
                        anchor=anchor,
                        camera=camera,
                        view=view,
                        mouth_light=mouth_light,
                        shadows=shadows,
                        targets=self._targets(count, camera),
                        samples=samples,
                        keys=keys,
                        first_column=first,
                        frames=output,
                    )
                    first += camera.width
                    continue
                light, shape = kernels.light_pixels, [count, camera.height, camera.width]
                if person.device.type == "cpu":
                    light, shape = _cpu_kernels().light_rows, [count, camera.height]
                surface = person.surfaces[person.source.level(camera)]
                scene = [surface, points, normals, view, mouth_light]
                self._launch(light, tuple(shape), [*scene, first, samples, keys, output])
                first += camera.width

    def _launch(self, kernel: Any, shape: tuple[int, ...], inputs: list[Any]) -> None:
        wp.launch(kernel, shape, inputs, device=str(self.person.device))

    def _buffers(self, count: int) -> tuple[Any, Any, Any, Any]:
        if count not in self.vertices:
            _evict_oldest(self.vertices)
            vertices, triangles = self.person.vertices, self.person.triangles
            self.vertices[count] = (
                self._buffer(count, vertices),
                self._buffer(count, triangles),
                self._buffer(count, vertices),
                self._buffer(count, vertices),
            )
        return self.vertices[count]

    def _buffer(self, count: int, points: int) -> Any:
        """Allocate with torch: it caches freed memory, so another allocator could find none."""
        buffer = torch.empty(count, points, 3, device=self.person.device)
        return wp.from_torch(buffer, dtype=wp.vec3)

    def _keys(self, count: int, camera: Camera, samples: int) -> Any:
        """Return a cleared key buffer; the kernel `light` clears the keys that it reads."""
        shape = (count, camera.height * samples, camera.width * samples)
        if shape not in self.keys:
            _evict_oldest(self.keys)
            keys = torch.full(shape, NOTHING, device=self.person.device)
            self.keys[shape] = wp.from_torch(keys)
        return self.keys[shape]

    def _targets(self, count: int, camera: Camera) -> Targets:
        shape = (count, camera.height, camera.width)
        if shape not in self.targets:
            self.targets.clear()  # they are large
            self.targets[shape] = Targets(self.person.full.kernels, self.person.device, shape)
        return self.targets[shape]

    def _shadows(self, count: int) -> ShadowMap:
        if count not in self.shadows:
            self.shadows.clear()
            self.shadows[count] = ShadowMap(self.person.device, count, self.person.vertices)
        return self.shadows[count]

    def _view(self, camera: Camera, options: RenderOptions) -> tuple[Any, Tensor]:
        """Return a camera for the kernels, and its background [H, W, options.channels]."""
        if (camera, options) not in self.views:
            _evict_oldest(self.views)
            back = background(camera, options).to(self.person.device)
            back = torch.nn.functional.pad(back, (0, options.channels - 3))
            self.views[camera, options] = (self.person.view(camera), back)
        return self.views[camera, options]


def _evict_oldest(cache: dict[Any, Any]) -> None:
    """Remove the oldest entries until there is space for one more."""
    while len(cache) >= CACHED:
        del cache[next(iter(cache))]
