"""The surface to be shaded: texels, normals and light at every pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.blendshape.model import INSIDE_THE_MOUTH
from models.avatar.blendshape.shading import backdrop
from models.avatar.blendshape.texture import smaller_textures
from models.avatar.mesh.skinning import joint_matrices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.avatar.blendshape.model import BlendshapeModel
    from models.avatar.camera import Camera


CALM_DEPTH = 0.06  # decimetres between the samples of a pixel that may share one light


SHARP_SHINE = 0.3  # what shines more has details that are smaller than pixels


SAMPLES = 2  # of a pixel's side, where nothing else is asked for


NEAR = 1.0  # decimetres; what is nearer than this to the camera is not drawn


@dataclass(frozen=True)
class PosedMesh:
    """The person in some frames, before she is posed."""

    rest: Tensor  # [B, V, 3] the rest pose, with a face
    matrices: Tensor  # [B, J, 3, 4] what the joints do
    mouth_light: Tensor  # [B] how bright it is inside the mouth, 0 to 1

    def __len__(self) -> int:
        return len(self.rest)


def pose_mesh(model: BlendshapeModel, face: Tensor, pose: Tensor) -> PosedMesh:
    """Face codes [B, 256] and pose [B, P] of some frames."""
    rest = model.rest(model.unit_weights(face))
    return PosedMesh(rest, joint_matrices(model.skeleton, pose), model.mouth_light(rest))


class Painter(Protocol):
    """Turns frames into pictures."""

    def paint(
        self,
        mesh: PosedMesh,
        cameras: Sequence[Camera],  # all of one height
        frames: Tensor,  # [B, H, W * views, look.channels] uint8, written here
        look: RenderOptions = OWN,
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


def behind(camera: Camera, look: RenderOptions) -> Tensor:
    """What a picture starts from, [H, W, 3] uint8 sRGB: nothing where it is to be transparent."""
    if look.background is None:
        return backdrop(camera)
    colour = (0, 0, 0) if look.background == TRANSPARENT else look.background
    shape = (camera.height, camera.width, 3)
    return torch.tensor(colour, dtype=torch.uint8).expand(shape).contiguous()
