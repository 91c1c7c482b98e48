"""Body decoder: pose, body code and face code to vertex offsets and mean texture.

Source: spec/renderer.md section 8. Letters: B frames, C side of the coarse map (64), S side of the
output (1024). The face occupies the lower left quarter of the coarse map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.avatar.codec.networks.layers import (
    Block,
    Convolution,
    leaky_relu,
    run_layers,
    upsampling_blocks,
)

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig
    from models.avatar.codec.texture.uv import VertexReader


class BodyDecoder(nn.Module):
    """Grouped convolutions with two halves of channels: one for the shape, one for the texture."""

    pose_mask: Tensor  # [98, C, C] texels that each pose parameter influences
    face_mask: Tensor  # [C, C] weight of the face at each texel
    body_mask: Tensor  # [C, C]

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        coarse, local = config.coarse_size, config.local_pose
        self.register_buffer("pose_mask", torch.zeros(local, coarse, coarse))
        self.register_buffer("face_mask", torch.zeros(coarse, coarse))
        self.register_buffer("body_mask", torch.zeros(coarse, coarse))
        self.local_pose = Block(local, config.pose_channels, coarse, kernel=1)
        self.body_seed = nn.Linear(config.body_code, config.body_map[0] * 16)
        self.body_blocks = upsampling_blocks(config.body_map, 4)
        self.face_seed = nn.Linear(config.face_code, config.face_map[0] * 16)
        self.face_blocks = upsampling_blocks(config.face_map, 4)
        joint = config.pose_channels + config.body_map[-1]
        self.joint = Block(joint, config.maps[0], coarse)
        self.blocks = upsampling_blocks(tuple(2 * c for c in config.maps), coarse, groups=2)
        self.offsets_out = Convolution(config.maps[-1], 3, config.uv_size)
        self.texture_out = Convolution(config.maps[-1], 3, config.uv_size)

    def body_map(self, code: Tensor) -> Tensor:
        """Feature map of a body code: [B, 1024] -> [B, 32, C, C]."""
        seed = leaky_relu(self.body_seed(code)).view(len(code), -1, 4, 4)
        return run_layers(self.body_blocks, seed)

    def pose_map(self, pose: Tensor) -> Tensor:
        """Feature map of a pose: [B, 104] -> [B, 16, C, C]."""
        local = pose[:, -len(self.pose_mask) :, None, None] * self.pose_mask
        return self.local_pose(local) * self._not_head()

    def code_map(self, body_map: Tensor, face_code: Tensor) -> Tensor:
        """Blend face codes [B, 256] into a body map [1 or B, 32, C, C] -> [B, 32, C, C]."""
        seed = leaky_relu(self.face_seed(face_code)).view(len(face_code), -1, 4, 4)
        face = run_layers(self.face_blocks, seed)  # [B, 32, C / 2, C / 2]
        half = face.shape[-1]
        quarter = (slice(half, None), slice(half))
        both = body_map.expand(len(face), -1, -1, -1).clone()
        body = both[:, :, *quarter] * self._not_head()[quarter]
        both[:, :, *quarter] = face * self.face_mask[quarter] + body
        return both

    def forward(self, pose: Tensor, body_map: Tensor, face_code: Tensor) -> Tensor:
        """Features [B, 8, S, S] of shape and texture, before seams are closed."""
        codes = self.code_map(body_map, face_code)
        joint = self.joint(torch.cat([self.pose_map(pose), codes], dim=1))  # [B, 64, C, C]
        return run_layers(self.blocks, torch.cat([joint, joint], dim=1))

    def texture(self, features: Tensor) -> Tensor:
        """Mean texture [B, 3, S, S] of the features."""
        return self.texture_out(features[:, features.shape[1] // 2 :])

    def offset_map(self, features: Tensor) -> Tensor:
        """Offset of every texel, [B, 3, S, S]; `offsets` computes only the texels that are read."""
        return self.offsets_out(features[:, : features.shape[1] // 2])

    def offsets(self, features: Tensor, reader: VertexReader) -> Tensor:
        """Offset of every vertex, [B, V, 3], from four texels per texture coordinate."""
        return reader.read_convolved(features, self.offsets_out.weight, self.offsets_out.bias)

    def _not_head(self) -> Tensor:
        return (self.body_mask * (1 - self.face_mask)).clamp(0, 1)
