"""Shared by both painters: the posed mesh, material tables and the background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from contracts.avatar_kinds import FULL
from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.blendshape.full.lighting import backdrop
from models.avatar.blendshape.model import INSIDE_THE_MOUTH
from models.avatar.blendshape.shading import wall_background
from models.avatar.blendshape.texture import smaller_textures
from models.avatar.mesh.skinning import joint_matrices

if TYPE_CHECKING:
    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.camera import Camera


UNIFORM_DEPTH = 0.06  # decimetres; depth range within which the samples of a pixel share one colour
SHARP_SHINE = 0.3  # surfaces with more shine have highlights smaller than pixels
SAMPLES = 2  # default number of samples per pixel side
NEAR = 1.0  # decimetres; faces nearer to the camera are not rendered


@dataclass(frozen=True)
class PosedMesh:
    """Rest-pose vertices and skinning matrices of a batch of frames."""

    rest: Tensor  # [B, V, 3] rest pose with the face applied
    matrices: Tensor  # [B, J, 3, 4] skinning matrices
    mouth_light: Tensor  # [B] brightness inside the mouth, 0 to 1

    def __len__(self) -> int:
        return len(self.rest)


def pose_mesh(model: BlendshapeModel, face: Tensor, pose: Tensor) -> PosedMesh:
    """Prepare a batch of frames for skinning: face codes [B, 256] and pose [B, P]."""
    return deformed(model, face, joint_matrices(model.skeleton, pose))


def deformed(model: BlendshapeModel, face: Tensor, matrices: Tensor) -> PosedMesh:
    """Apply face codes [B, 256] to a batch of frames with skinning matrices [B, J, 3, 4]."""
    rest = model.rest(model.unit_weights(face))
    return PosedMesh(rest, matrices, model.mouth_light(rest))


class Painter(Protocol):
    """Interface of the plain and the kernel renderer."""

    def render(
        self,
        mesh: PosedMesh,
        cameras: list[Camera],  # all of the same height
        frames: Tensor,  # [B, H, W * views, options.channels] uint8, the output
        options: RenderOptions = OWN,
    ) -> None: ...


@dataclass(frozen=True)
class Surface:
    """Mesh and material tables for shading, per face or per vertex."""

    faces: Tensor  # [F, 3] int32
    uv_faces: Tensor  # [F, 3] int32
    uv: Tensor  # [M, 2]
    openness: Tensor  # [V]
    shine: Tensor  # [F]
    parts: Tensor  # [F] int32
    inside: Tensor  # [F] 1 inside the mouth, else 0
    textures: tuple[Tensor, ...]  # mipmaps: [S, S, 3] uint8, then half the side at each level
    texels: float  # per decimetre of the face, at the first level
    middle: tuple[float, float, float]

    def level(self, camera: Camera) -> int:
        """Mipmap level whose texels are about as large as the pixels of the camera."""
        distance = math.dist(camera.position, self.middle)
        pixels = camera.intrinsics[1][1] / distance  # per decimetre
        level = round(math.log2(self.texels / pixels))
        return min(max(level, 0), len(self.textures) - 1)


def surface_of(model: BlendshapeModel) -> Surface:
    """Build the shading tables of a model; properties of parts become values per face."""
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
    """Median number of texels per decimetre, over the faces that face units move."""
    on_face = torch.isin(model.faces[:, 0].long(), model.moving)
    flat = torch.nn.functional.pad(model.uv, (0, 1))[model.uv_faces[on_face].long()]
    solid = model.template[model.faces[on_face].long()]
    density = (_double_areas(flat) / _double_areas(solid).clamp(min=1e-9)).median()
    return max(float(density.sqrt()) * len(model.texture), 1.0)


def _double_areas(corners: Tensor) -> Tensor:
    a, b, c = corners.unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1)


def background(camera: Camera, options: RenderOptions) -> Tensor:
    """Initial image of a view, [H, W, 3] uint8 sRGB; black when the background is transparent."""
    if options.background is None:
        return backdrop(camera) if options.shading == FULL else wall_background(camera)
    colour = (0, 0, 0) if options.background == TRANSPARENT else options.background
    shape = (camera.height, camera.width, 3)
    return torch.tensor(colour, dtype=torch.uint8).expand(shape).contiguous()
