"""Reference implementation of the codec avatar: recomputes everything for each view.

Tests compare the fast path with it, and `python -m bench avatar --kind codec` measures both.
Source: spec/renderer.md section 1.
Letters: K views, used as the batch; H and W pixels; S side of the network maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from models.avatar.codec.model import CodecModel, Decoded, Posed
from models.avatar.codec.networks.layers import Block, UpBlock, leaky_relu, resized
from models.avatar.codec.texture.display import to_display

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from models.avatar.camera import Camera
    from models.avatar.codec.model import CodecNetworks
    from models.avatar.codec.texture.seams import Seams
    from models.avatar.raster.types import Raster


class PlainCodec(CodecModel):
    """Codec model evaluated without caching or shortcuts."""

    @torch.inference_mode()
    def picture(self, face: Tensor, pose: Tensor, cameras: Sequence[Camera]) -> Tensor:
        """Render one frame: face code [256] and pose [104] -> [H, W * K, 3] uint8."""
        faces, poses = face.expand(len(cameras), -1), pose.expand(len(cameras), -1)
        positions = torch.stack([torch.from_numpy(camera.position) for camera in cameras]).to(face)
        decoded = self.decoded_full_size(poses, self.face_codes(faces), self.body_codes(poses))
        posed = self.pose_decoded(decoded, poses)
        textures = self.final_texture(posed, self.view_residual(posed, positions))
        rasters = [
            self.surface.raster(posed.vertices[k : k + 1], camera)
            for k, camera in enumerate(cameras)
        ]
        return self.colour_views(rasters, textures)

    def body_codes(self, pose: Tensor) -> Tensor:
        """Body codes, computed by posing and unposing the template, [K, 1024]."""
        template = torch.zeros_like(self.body.template).expand(len(pose), -1, -1)
        moved = self.body.unposed(self.body.posed(template, pose), pose)
        codes: Tensor = self.networks.body_encoder(self.uv_map.spread(moved)).mean
        return codes

    def decoded_full_size(self, pose: Tensor, face_code: Tensor, body_code: Tensor) -> Decoded:
        """Decode with all maps at full size."""
        decoder = self.networks.decoder
        seed = leaky_relu(decoder.body_seed(body_code)).view(len(pose), -1, 4, 4)
        codes = decoder.code_map(_upsampled(decoder.body_blocks, seed), face_code)
        joint = decoder.joint(torch.cat([decoder.pose_map(pose), codes], dim=1))
        features = _upsampled(decoder.blocks, torch.cat([joint, joint], dim=1))
        features = _close(self.finish.seams, features)
        offsets = self.reader.read(decoder.offset_map(features))
        return Decoded(offsets, decoder.texture(features))

    def light(self, pose: Tensor) -> Tensor:
        if self.constant_light is not None:
            return self.constant_light
        finish = self.finish
        return _close(
            finish.fine_seams, resized(self.networks.pose_shadow(pose), finish.fine_seams.size)
        )

    def final_texture(self, posed: Posed, residual: Tensor) -> Tensor:
        finish = self.finish
        detail = self.networks.upscaler(torch.cat([posed.texture, residual], dim=1))
        base = _blend(finish.seams, _fill(finish.seams, posed.texture + residual))
        fine = resized(base, finish.fine_seams.size) + detail
        return _close(finish.fine_seams, (fine * finish.spread + finish.mean) * posed.light)

    def colour_views(self, rasters: list[Raster], textures: Tensor) -> Tensor:
        """Sample the texture at every pixel, then clear the background pixels."""
        views = []
        for raster, texture in zip(rasters, textures, strict=True):
            face = raster.faces.long()
            corners = self.surface.uv[self.surface.uv_faces[face.clamp(min=0)]]  # [1, H, W, 3, 2]
            at = (corners * raster.weights[..., None]).sum(3) * 2 - 1
            light = grid_sample(texture[None], at, padding_mode="border", align_corners=True)
            light = torch.where(face[:, None] >= 0, light, 0.0)
            views.append(to_display(light[0].permute(1, 2, 0)).to(torch.uint8))
        return torch.cat(views, dim=1)

    def _optimise_layout(self, networks: CodecNetworks) -> CodecNetworks:
        return networks


def _upsampled(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Run blocks that upsample their input before both paths."""
    for block in blocks:
        assert isinstance(block, UpBlock)
        x = Block.forward(block, resized(x, block.first.bias.shape[-1], corners=True))
    return x


def _fill(seams: Seams, x: Tensor) -> Tensor:
    rows = x.flatten(2).clone()
    rows[:, :, seams.filled] = x.flatten(2)[:, :, seams.sources]
    return rows.view(x.shape)


def _blend(seams: Seams, x: Tensor) -> Tensor:
    """Dense blending: every texel samples the map, and a weight of 0 leaves it unchanged."""
    size = seams.size
    texel = torch.arange(size * size, device=x.device)
    column, row = (texel % size).float(), (texel // size).float()
    weight = torch.zeros_like(column)
    blend = 1 - seams.shares[0]
    _, right, lower, both = seams.shares[1:] / blend
    weight[seams.blended] = blend
    column[seams.blended] = (seams.corners[0] % size) + right + both
    row[seams.blended] = (seams.corners[0] // size) + lower + both
    at = torch.stack([column, row], dim=-1).view(1, size, size, 2)
    grid = (2 * (at + 0.5) / size - 1).expand(len(x), -1, -1, -1)
    sampled = grid_sample(x, grid, padding_mode="border", align_corners=False)
    weight = weight.view(size, size)
    return (1 - weight) * x + weight * sampled


def _close(seams: Seams, x: Tensor) -> Tensor:
    return _blend(seams, _blend(seams, _fill(seams, x)))
