"""Runs the kernels. Imports warp: import this module only where warp is installed.

Letters: B frames, V vertices, F faces, H and W pixels.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models.avatar.appearance import OWN, RenderOptions
from models.avatar.blendshape.shading import tone_curve
from models.avatar.blendshape.surface import NEAR, SAMPLES, behind, surface_of
from models.avatar.raster.types import NOTHING
from models.avatar.raster.warp import _kernels, start_warp, torch_stream, wp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.blendshape.surface import PosedMesh
    from models.avatar.camera import Camera


KEPT = 3  # buffers of different shapes that a painter holds on to: sizes are the caller's choice


@cache
def _shading_kernels() -> Any:
    start_warp()
    from models.avatar.blendshape import kernels as shading_kernels

    return shading_kernels


class PersonOnDevice:
    """The tables that the kernels read, shared by all painters of one person."""

    def __init__(self, model: BlendshapeModel) -> None:
        self.kernels = _shading_kernels()
        self.device = model.template.device
        self.vertices, self.triangles = len(model.template), len(model.faces)
        heaviest = torch.sort(model.skin_weights, dim=1, descending=True)
        joints = model.skin_joints.long().gather(1, heaviest.indices).int()
        self.skin_weights = wp.from_torch(heaviest.values.contiguous())
        self.skin_joints = wp.from_torch(joints.contiguous())
        starts, around = _faces_around(model.faces, self.vertices)
        self.starts, self.around = wp.from_torch(starts), wp.from_torch(around)
        self.source = surface_of(model)
        self.surfaces = [self._surface(texture) for texture in self.source.textures]

    def _surface(self, texture: Tensor) -> Any:
        source, surface = self.source, self.kernels.Surface()
        surface.faces = wp.from_torch(source.faces.contiguous(), dtype=wp.vec3i)
        surface.uv_faces = wp.from_torch(source.uv_faces.contiguous(), dtype=wp.vec3i)
        surface.uv = wp.from_torch(source.uv.contiguous(), dtype=wp.vec2)
        surface.openness = wp.from_torch(source.openness.contiguous())
        surface.shine = wp.from_torch(source.shine.contiguous())
        surface.parts = wp.from_torch(source.parts.contiguous())
        surface.inside = wp.from_torch(source.inside.contiguous())
        surface.texture = wp.from_torch(texture.contiguous(), dtype=wp.vec3ub)
        surface.tone = wp.from_torch(tone_curve().to(self.device))
        return surface

    def view(self, camera: Camera) -> Any:
        """A camera as the kernels read it."""
        half = min(camera.width, camera.height) / 2
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
        view = self.kernels.View()
        view.rotation = wp.mat33(*np.array(camera.rotation).ravel().tolist())
        view.translation = wp.vec3(*camera.translation)
        view.focal = wp.vec2(fx / half, fy / half)
        view.middle = wp.vec2((cx - camera.width / 2) / half, (cy - camera.height / 2) / half)
        return view


def _faces_around(faces: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """Which faces meet in each vertex: where each list starts [V + 1], and the lists, int32."""
    corner = faces.long().flatten()
    order = torch.sort(corner, stable=True).indices
    counts = torch.bincount(corner, minlength=vertices)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return starts.int(), (order // 3).int()


class KernelPainter:
    """Paints with the kernels. Keeps its buffers, so two threads need two painters."""

    def __init__(self, person: PersonOnDevice) -> None:
        self.person = person
        self.vertices: dict[int, tuple[Any, Any, Any, Any]] = {}
        self.keys: dict[tuple[int, int, int], Any] = {}
        self.views: dict[tuple[Camera, RenderOptions], tuple[Any, Any]] = {}

    def paint(
        self, mesh: PosedMesh, cameras: Sequence[Camera], frames: Tensor, look: RenderOptions = OWN
    ) -> None:
        """Into frames [B, H, W * views, look.channels] uint8."""
        person, kernels, count = self.person, self.person.kernels, len(mesh)
        samples = look.samples or SAMPLES
        posed, by_face, normals, points = self._buffers(count)
        rows = wp.from_torch(mesh.matrices.contiguous(), dtype=wp.vec4)
        at = wp.from_torch(mesh.rest.contiguous(), dtype=wp.vec3)
        mouth_light = wp.from_torch(mesh.mouth_light.contiguous())
        drawn = wp.from_torch(frames)  # [B, H, W * views, C]
        each, faces = (count, person.vertices), person.surfaces[0].faces
        with torch_stream(person.device):
            skin = [at, person.skin_weights, person.skin_joints, rows, posed]
            self._launch(kernels.skin, each, skin)
            triangles = (count, person.triangles)
            self._launch(kernels.face_normals, triangles, [posed, faces, by_face])
            around = [by_face, person.starts, person.around, normals]
            self._launch(kernels.vertex_normals, each, around)
            first = 0
            for camera in cameras:
                view, back = self._view(camera, look)
                self._launch(kernels.project, each, [posed, view, points])
                keys = self._keys(count, camera, samples)
                draw = [points, faces, NEAR, 1, keys]
                self._launch(_kernels().draw_faces, triangles, draw)
                shape = (count, camera.height, camera.width)
                surface = person.surfaces[person.source.level(camera)]
                seen = [surface, points, normals, view, mouth_light, back]
                where = [first, samples, keys, drawn]
                self._launch(kernels.light, shape, seen + where)
                first += camera.width

    def _launch(self, kernel: Any, shape: tuple[int, ...], inputs: list[Any]) -> None:
        wp.launch(kernel, shape, inputs, device=str(self.person.device))

    def _buffers(self, count: int) -> tuple[Any, Any, Any, Any]:
        if count not in self.vertices:
            _forget_all_but_a_few(self.vertices)
            vertices, triangles = self.person.vertices, self.person.triangles
            self.vertices[count] = (
                self._room(count, vertices),
                self._room(count, triangles),
                self._room(count, vertices),
                self._room(count, vertices),
            )
        return self.vertices[count]

    def _room(self, count: int, points: int) -> Any:
        """From torch, which keeps what it has freed: another allocator would find no memory."""
        room = torch.empty(count, points, 3, device=self.person.device)
        return wp.from_torch(room, dtype=wp.vec3)

    def _keys(self, count: int, camera: Camera, samples: int) -> Any:
        """A clean buffer; the light kernel cleans what it reads."""
        shape = (count, camera.height * samples, camera.width * samples)
        if shape not in self.keys:
            _forget_all_but_a_few(self.keys)
            keys = torch.full(shape, NOTHING, device=self.person.device)
            self.keys[shape] = wp.from_torch(keys)
        return self.keys[shape]

    def _view(self, camera: Camera, look: RenderOptions) -> tuple[Any, Any]:
        if (camera, look) not in self.views:
            _forget_all_but_a_few(self.views)
            back = behind(camera, look).to(self.person.device)
            self.views[camera, look] = (
                self.person.view(camera),
                wp.from_torch(back.contiguous(), dtype=wp.vec3ub),
            )
        return self.views[camera, look]


def _forget_all_but_a_few(kept: dict[Any, Any]) -> None:
    """Makes room for one more: the oldest goes first."""
    while len(kept) >= KEPT:
        del kept[next(iter(kept))]
