"""Pose, body code and face code -> how the skin moves and what colour it has.

Source: spec/renderer.md section 8. Letters: B frames, C the coarse map's side (64), S the side of
what comes out (1024). The lower left quarter of the coarse map is where the face lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.avatar.codec.networks.layers import Block, Convolution, leaky, rising, through

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig
    from models.avatar.codec.texture.uv import VertexReader


class BodyDecoder(nn.Module):
    """Two halves of channels go side by side: one for the shape, one for the texture."""

    pose_mask: Tensor  # [98, C, C] where each pose parameter is heard
    face_mask: Tensor  # [C, C] how much a texel belongs to the face
    body_mask: Tensor  # [C, C]

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        coarse, local = config.coarse_size, config.local_pose
        self.register_buffer("pose_mask", torch.zeros(local, coarse, coarse))
        self.register_buffer("face_mask", torch.zeros(coarse, coarse))
        self.register_buffer("body_mask", torch.zeros(coarse, coarse))
        self.local_pose = Block(local, config.pose_channels, coarse, kernel=1)
        self.body_seed = nn.Linear(config.body_code, config.body_map[0] * 16)
        self.body_blocks = rising(config.body_map, 4)
        self.face_seed = nn.Linear(config.face_code, config.face_map[0] * 16)
        self.face_blocks = rising(config.face_map, 4)
        joint = config.pose_channels + config.body_map[-1]
        self.joint = Block(joint, config.maps[0], coarse)
        self.blocks = rising(tuple(2 * c for c in config.maps), coarse, groups=2)
        self.offsets_out = Convolution(config.maps[-1], 3, config.uv_size)
        self.texture_out = Convolution(config.maps[-1], 3, config.uv_size)

    def body_map(self, code: Tensor) -> Tensor:
        """A body code [B, 1024] -> its map [B, 32, C, C], which the face's is laid over."""
        seed = leaky(self.body_seed(code)).view(len(code), -1, 4, 4)
        return through(self.body_blocks, seed)

    def pose_map(self, pose: Tensor) -> Tensor:
        """[B, 104] -> [B, 16, C, C]"""
        local = pose[:, -len(self.pose_mask) :, None, None] * self.pose_mask
        return self.local_pose(local) * self._not_head()

    def code_map(self, body_map: Tensor, face_code: Tensor) -> Tensor:
        """A body's map [1 or B, 32, C, C] with faces [B, 256] laid over it -> [B, 32, C, C]"""
        seed = leaky(self.face_seed(face_code)).view(len(face_code), -1, 4, 4)
        face = through(self.face_blocks, seed)  # [B, 32, C / 2, C / 2]
        half = face.shape[-1]
        quarter = (slice(half, None), slice(half))
        both = body_map.expand(len(face), -1, -1, -1).clone()
        body = both[:, :, *quarter] * self._not_head()[quarter]
        both[:, :, *quarter] = face * self.face_mask[quarter] + body
        return both

    def forward(self, pose: Tensor, body_map: Tensor, face_code: Tensor) -> Tensor:
        """-> features [B, 8, S, S], for the shape and for the texture, before seams are closed."""
        codes = self.code_map(body_map, face_code)
        joint = self.joint(torch.cat([self.pose_map(pose), codes], dim=1))  # [B, 64, C, C]
        return through(self.blocks, torch.cat([joint, joint], dim=1))

    def texture(self, features: Tensor) -> Tensor:
        """-> [B, 3, S, S]"""
        return self.texture_out(features[:, features.shape[1] // 2 :])

    def offset_map(self, features: Tensor) -> Tensor:
        """How far every texel moves: [B, 3, S, S]. `offsets` is the same where it is read."""
        return self.offsets_out(features[:, : features.shape[1] // 2])

    def offsets(self, features: Tensor, reader: VertexReader) -> Tensor:
        """How far every vertex moves: [B, V, 3]. Four texels to a coordinate, not a million."""
        return reader.read_convolved(features, self.offsets_out.weight, self.offsets_out.bias)

    def _not_head(self) -> Tensor:
        return (self.body_mask * (1 - self.face_mask)).clamp(0, 1)
