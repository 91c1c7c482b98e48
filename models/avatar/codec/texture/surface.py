"""Rasterisation and texturing of a posed body.

Source: spec/renderer.md section 11. Only pixels covered by the body are coloured.
Letters: B images, V vertices, H and W pixels (or samples), N covered ones, S side of a texture.
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
    """Mesh topology and texture coordinates."""

    faces: Tensor  # [F, 3]
    uv_faces: Tensor  # [F, 3]
    uv: Tensor  # [M, 2], v downwards

    def raster(self, posed: Tensor, camera: Camera, *, samples: int = 1) -> Raster:
        """Rasterise a body [B, V, 3], with samples * samples samples per pixel."""
        height, width = camera.height * samples, camera.width * samples
        return rasterise(to_normalised(camera, posed), self.faces, height=height, width=width)

    def colours(self, raster: Raster, texture: Tensor) -> Tensor:
        """Linear light of the covered pixels [N, 3] from textures [B, 3, S, S].

        Texture coordinates of 0 and 1 are the centres of the first and the last texel.
        """
        covered = raster.faces >= 0
        face, weights = raster.faces[covered].long(), raster.weights[covered]
        corners = self.uv[self.uv_faces[face].long()]  # [N, 3, 2]
        at = (corners * weights[..., None]).sum(1) * 2 - 1
        counts = covered.flatten(1).sum(1).tolist()
        colours = [
            grid_sample(image[None], part[None, None], padding_mode="border", align_corners=True)[
                0, :, 0
            ]
            for image, part in zip(texture, torch.split(at, counts), strict=True)
        ]
        return torch.cat(colours, dim=1).T

    def render(
        self,
        posed: Tensor,  # [B, V, 3]
        texture: Tensor,  # [B, 3, S, S]
        camera: Camera,
        frames: Tensor,  # [B, H, W, 3 or 4] uint8, RGB or RGBA, rendered over in place
        *,
        samples: int = 1,
        rounding: bool = False,
    ) -> None:
        """Render one view of a batch of frames, with warp kernels when warp is installed.

        Pixels that the body does not cover stay unchanged. Partly covered pixels are blended with
        their old value, in display values; in RGBA they get the colour of the body and its share
        as alpha.
        """
        if not kernels_available():
            self.render_plain(posed, texture, camera, frames, samples=samples, rounding=rounding)
            return
        from models.avatar.codec.texture import warp_paint  # this module imports the optional warp

        points = to_normalised(camera, posed)
        warp_paint.render(
            points,
            self.faces,
            self.uv,
            self.uv_faces,
            texture,
            frames,
            samples=samples,
            rounding=rounding,
        )

    def render_plain(
        self,
        posed: Tensor,
        texture: Tensor,
        camera: Camera,
        frames: Tensor,
        *,
        samples: int = 1,
        rounding: bool = False,
    ) -> None:
        """Reference implementation of `render` in plain torch."""
        raster = self.raster(posed, camera, samples=samples)
        colours, sampled = self.colours(raster, texture), raster.faces >= 0
        light = colours.new_zeros(*sampled.shape, 3)
        light[sampled] = colours
        count = _pixels(sampled, samples).sum(-1)  # [B, H, W] covered samples of each pixel
        covered = count > 0
        count = count[covered][:, None]
        values = to_display(_pixels(light, samples).sum(-1)[covered] / count)
        share = count / samples**2
        if frames.shape[-1] == 4:
            frames[..., 3][covered] = (255 * share[:, 0] + 0.5).to(torch.uint8)
        else:
            values = torch.where(share < 1, share * values + (1 - share) * frames[covered], values)
        frames[..., :3][covered] = (values + (0.5 if rounding else 0.0)).to(torch.uint8)


def _pixels(x: Tensor, samples: int) -> Tensor:
    """Group samples by pixel: [B, H * samples, W * samples, ...] -> [B, H, W, ..., samples ** 2]"""
    count, height, width = x.shape[:3]
    parts = x.reshape(count, height // samples, samples, width // samples, samples, *x.shape[3:])
    return parts.movedim((2, 4), (-2, -1)).flatten(-2)
