"""Clay render of a codec avatar: the posed mesh in one colour, without its texture networks.

Letters: B frames, V vertices, H and W pixels, N covered pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize

from models.avatar.codec.networks.view import vertex_normals

if TYPE_CHECKING:
    from torch import Tensor

    from models.avatar.camera import Camera
    from models.avatar.codec.model import CodecModel

CLAY = (208.0, 196.0, 186.0)  # sRGB in full light
SHADE = 0.25  # of the surface at right angles to the light
LIGHT = (-0.35, -0.45, 1.0)  # from the camera on, to the right, down and away from it


def clay_mesh(model: CodecModel, face: Tensor, pose: Tensor) -> Tensor:
    """Return posed vertices [B, V, 3].

    The network that moves the vertices takes seconds of a CPU for each second of video, so there
    the template is posed, whose face does not move.
    """
    if model.device.type == "cuda":
        offsets = model.decoded(pose, model.face_codes(face), model.body_map).offsets
    else:
        offsets = torch.zeros_like(model.body.template).expand(len(pose), -1, -1)
    return model.body.posed(offsets, pose)


def render_clay(model: CodecModel, vertices: Tensor, camera: Camera, frames: Tensor) -> None:
    """Render posed vertices [B, V, 3] over frames [B, H, W, 3 or 4], in place."""
    surface = model.surface
    normals = vertex_normals(vertices, surface.faces, model.around)
    raster = surface.raster(vertices, camera)
    covered = raster.faces >= 0
    image = covered.nonzero()[:, 0]
    corners = surface.faces[raster.faces[covered].long()]  # [N, 3]
    normal = (normals[image[:, None], corners] * raster.weights[covered][..., None]).sum(1)
    rotation = vertices.new_tensor(camera.rotation)
    light = normalize(vertices.new_tensor(LIGHT), dim=0) @ rotation  # in the world
    lit = (normalize(normal, dim=1) @ -light).abs()  # winding differs between released files
    shade = SHADE + (1 - SHADE) * lit
    colours = shade[:, None] * shade.new_tensor(CLAY) + 0.5
    frames[..., :3][covered] = colours.to(torch.uint8)
    if frames.shape[-1] == 4:
        frames[..., 3][covered] = 255
