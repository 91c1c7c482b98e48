"""A posed body and its texture -> what a camera sees of them.

Source: spec/renderer.md section 11. Only pixels that see the body are coloured.
Letters: B pictures, V vertices, H and W pixels (or samples), N of them that see the body, S the
side of a texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from models.avatar.codec.texture.display import to_display
from models.avatar.raster.rasterise import kernels_available, rasterise
from models.avatar.raster.types import to_normalised

if TYPE_CHECKING:
    from models.avatar.camera import Camera
    from models.avatar.raster.types import Raster


@dataclass(frozen=True)
class Surface:
    """The mesh and how the texture lies on it."""

    faces: Tensor  # [F, 3]
    uv_faces: Tensor  # [F, 3]
    uv: Tensor  # [M, 2], v downwards

    def raster(self, posed: Tensor, camera: Camera, *, samples: int = 1) -> Raster:
        """What each pixel, or each sample of it, sees of a body [B, V, 3]."""
        height, width = camera.height * samples, camera.width * samples
        return rasterise(to_normalised(camera, posed), self.faces, height=height, width=width)

    def colours(self, raster: Raster, texture: Tensor) -> Tensor:
        """Textures [B, 3, S, S] -> linear light of the pixels that see something, [N, 3].

        Texture coordinates of 0 and 1 are the centres of the first and the last texel.
        """
        seen = raster.faces >= 0
        face, weights = raster.faces[seen].long(), raster.weights[seen]
        corners = self.uv[self.uv_faces[face].long()]  # [N, 3, 2]
        at = (corners * weights[..., None]).sum(1) * 2 - 1
        counts = seen.flatten(1).sum(1).tolist()
        colours = [
            grid_sample(picture[None], part[None, None], padding_mode="border", align_corners=True)[
                0, :, 0
            ]
            for picture, part in zip(texture, torch.split(at, counts), strict=True)
        ]
        return torch.cat(colours, dim=1).T

    def paint(
        self,
        posed: Tensor,  # [B, V, 3]
        texture: Tensor,  # [B, 3, S, S]
        camera: Camera,
        frames: Tensor,  # [B, H, W, 3] uint8, or 4 for RGBA: painted over what is there
        *,
        samples: int = 1,
        rounding: bool = False,
    ) -> None:
        """One view of some frames, by the kernels where they are installed.

        What sees nothing stays as it is, and a pixel that sees something in part is mixed with what
        it was, in what displays are sent; in RGBA it gets the colour of what it sees, and a share.
        """
        if not kernels_available():
            self.paint_plain(posed, texture, camera, frames, samples=samples, rounding=rounding)
            return
        from models.avatar.codec.texture import warp_paint  # imports warp, which is optional

        points = to_normalised(camera, posed)
        warp_paint.paint(
            points,
            self.faces,
            self.uv,
            self.uv_faces,
            texture,
            frames,
            samples=samples,
            rounding=rounding,
        )

    def paint_plain(
        self,
        posed: Tensor,
        texture: Tensor,
        camera: Camera,
        frames: Tensor,
        *,
        samples: int = 1,
        rounding: bool = False,
    ) -> None:
        """The same by plain torch."""
        raster = self.raster(posed, camera, samples=samples)
        colours, sampled = self.colours(raster, texture), raster.faces >= 0
        light = colours.new_zeros(*sampled.shape, 3)
        light[sampled] = colours
        count = _pixels(sampled, samples).sum(-1)  # [B, H, W] samples that see something
        seen = count > 0
        count = count[seen][:, None]
        shown = to_display(_pixels(light, samples).sum(-1)[seen] / count)
        share = count / samples**2
        if frames.shape[-1] == 4:
            frames[..., 3][seen] = (255 * share[:, 0] + 0.5).to(torch.uint8)
        else:
            shown = torch.where(share < 1, share * shown + (1 - share) * frames[seen], shown)
        frames[..., :3][seen] = (shown + (0.5 if rounding else 0.0)).to(torch.uint8)


def _pixels(x: Tensor, samples: int) -> Tensor:
    """[B, H * samples, W * samples, ...] -> [B, H, W, ..., samples ** 2]"""
    count, height, width = x.shape[:3]
    parts = x.reshape(count, height // samples, samples, width // samples, samples, *x.shape[3:])
    return parts.movedim((2, 4), (-2, -1)).flatten(-2)
