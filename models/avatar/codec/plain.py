"""The same pictures in the plain order of work: everything for each view, nothing kept.

The readable truth that tests hold the fast path to, and what `python -m bench avatar --kind codec`
compares it with. Source: spec/renderer.md section 1.
Letters: K views, which are the batch; H and W pixels; S side of the networks' maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from models.avatar.codec.model import CodecModel, Decoded, Posed
from models.avatar.codec.networks.layers import Block, UpBlock, leaky, resized
from models.avatar.codec.texture.display import to_display

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from models.avatar.camera import Camera
    from models.avatar.codec.model import CodecNetworks
    from models.avatar.codec.texture.seams import Seams
    from models.avatar.raster.types import Raster


class PlainCodec(CodecModel):
    """Another way through the same networks."""

    @torch.inference_mode()
    def picture(self, face: Tensor, pose: Tensor, cameras: Sequence[Camera]) -> Tensor:
        """One frame: face code [256] and pose [104] -> [H, W * K, 3] uint8."""
        faces, poses = face.expand(len(cameras), -1), pose.expand(len(cameras), -1)
        positions = torch.stack([torch.from_numpy(camera.position) for camera in cameras]).to(face)
        decoded = self.decoded_plainly(poses, self.face_codes(faces), self.body_codes(poses))
        posed = self.as_posed(decoded, poses)
        textures = self.finished(posed, self.added(posed, positions))
        rasters = [
            self.surface.raster(posed.vertices[k : k + 1], camera)
            for k, camera in enumerate(cameras)
        ]
        return self.shown(rasters, textures)

    def body_codes(self, pose: Tensor) -> Tensor:
        """The codes of a body that is posed and unposed again, [K, 1024]."""
        template = torch.zeros_like(self.body.template).expand(len(pose), -1, -1)
        moved = self.body.unposed(self.body.posed(template, pose), pose)
        codes: Tensor = self.networks.body_encoder(self.uv_map.spread(moved)).mean
        return codes

    def decoded_plainly(self, pose: Tensor, face_code: Tensor, body_code: Tensor) -> Decoded:
        """Every map at its full size."""
        decoder = self.networks.decoder
        seed = leaky(decoder.body_seed(body_code)).view(len(pose), -1, 4, 4)
        codes = decoder.code_map(_enlarged(decoder.body_blocks, seed), face_code)
        joint = decoder.joint(torch.cat([decoder.pose_map(pose), codes], dim=1))
        features = _enlarged(decoder.blocks, torch.cat([joint, joint], dim=1))
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

    def finished(self, posed: Posed, added: Tensor) -> Tensor:
        finish = self.finish
        detail = self.networks.upscaler(torch.cat([posed.texture, added], dim=1))
        base = _blend(finish.seams, _fill(finish.seams, posed.texture + added))
        fine = resized(base, finish.fine_seams.size) + detail
        return _close(finish.fine_seams, (fine * finish.spread + finish.mean) * posed.light)

    def shown(self, rasters: list[Raster], textures: Tensor) -> Tensor:
        """Every pixel looks into the texture, and then at whether it sees something."""
        views = []
        for raster, texture in zip(rasters, textures, strict=True):
            face = raster.faces.long()
            corners = self.surface.uv[self.surface.uv_faces[face.clamp(min=0)]]  # [1, H, W, 3, 2]
            at = (corners * raster.weights[..., None]).sum(3) * 2 - 1
            light = grid_sample(texture[None], at, padding_mode="border", align_corners=True)
            light = torch.where(face[:, None] >= 0, light, 0.0)
            views.append(to_display(light[0].permute(1, 2, 0)).to(torch.uint8))
        return torch.cat(views, dim=1)

    def _laid_out(self, networks: CodecNetworks) -> CodecNetworks:
        return networks


def _enlarged(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Enlarged first, then both ways through each block."""
    for block in blocks:
        assert isinstance(block, UpBlock)
        x = Block.forward(block, resized(x, block.first.bias.shape[-1], corners=True))
    return x


def _fill(seams: Seams, x: Tensor) -> Tensor:
    rows = x.flatten(2).clone()
    rows[:, :, seams.filled] = x.flatten(2)[:, :, seams.sources]
    return rows.view(x.shape)


def _blend(seams: Seams, x: Tensor) -> Tensor:
    """Every texel looks for another one, and then at how much of it it wants."""
    size = seams.size
    texel = torch.arange(size * size, device=x.device)
    column, row = (texel % size).float(), (texel // size).float()
    weight = torch.zeros_like(column)
    own = 1 - seams.shares[0]
    _, right, lower, both = seams.shares[1:] / own
    weight[seams.blended] = own
    column[seams.blended] = (seams.corners[0] % size) + right + both
    row[seams.blended] = (seams.corners[0] // size) + lower + both
    at = torch.stack([column, row], dim=-1).view(1, size, size, 2)
    grid = (2 * (at + 0.5) / size - 1).expand(len(x), -1, -1, -1)
    there = grid_sample(x, grid, padding_mode="border", align_corners=False)
    weight = weight.view(size, size)
    return (1 - weight) * x + weight * there


def _close(seams: Seams, x: Tensor) -> Tensor:
    return _blend(seams, _blend(seams, _fill(seams, x)))
