"""Encoders of body shape and of face shape and texture.

Source: spec/renderer.md section 6. The body code is that of the undeformed template, so it is
computed once. Letters: B frames, C width of a code, S side of an encoder map (512).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.avatar.codec.networks.layers import (
    downsampling_blocks,
    leaky_relu,
    resized,
    run_layers,
)

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig

SPREAD = 0.1  # factor of the logarithm of the standard deviation


@dataclass(frozen=True)
class Code:
    """Mean and logarithm of the standard deviation of a code; rendering uses the mean."""

    mean: Tensor  # [B, C]
    log_spread: Tensor  # [B, C]


class BodyEncoder(nn.Module):
    """Map of vertex offsets from the template to a body code."""

    mask: Tensor  # [S, S] texels outside the face

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        channels = config.body_encoder
        self.size = 4 << (len(channels) - 1)
        self.register_buffer("mask", torch.ones(self.size, self.size))
        self.blocks = downsampling_blocks(channels)
        self.mean = nn.Linear(channels[-1] * 16, config.body_code)
        self.log_spread = nn.Linear(channels[-1] * 16, config.body_code)

    def forward(self, moved: Tensor) -> Code:
        """Encode a map of offsets: moved [B, 3, uv, uv] -> [B, C]."""
        x = resized(moved, self.size) * self.mask
        flat = run_layers(self.blocks, x).flatten(1)  # [B, 128 * 4 * 4]
        return Code(self.mean(flat), SPREAD * self.log_spread(flat))


class FaceEncoder(nn.Module):
    """Shape and texture of a face to the face code of the body decoder."""

    mask: Tensor  # [S, S] weight of each texel

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        channels = config.face_encoder
        self.size = 4 << (len(channels) - 1)
        self.register_buffer("mask", torch.ones(self.size, self.size))
        self.blocks = downsampling_blocks(channels)
        self.shape = nn.Linear(config.face_vertices * 3, config.face_shape_features)
        features = channels[-1] * 16 + config.face_shape_features
        self.joint = nn.Linear(features, config.face_features)
        self.mean = nn.Linear(config.face_features, config.face_code)
        self.log_spread = nn.Linear(config.face_features, config.face_code)

    def preprocess(self, texture: Tensor) -> Tensor:
        """Resize, normalise and mask a texture [B, 3, 2 S, 2 S], 0 to 255 -> [B, 3, S, S]."""
        return (resized(texture, self.size) / 255 - 0.5) * self.mask

    def forward(self, shape: Tensor, texture: Tensor) -> Code:
        """Encode shape [B, vertices, 3] and texture [B, 3, 2 S, 2 S] -> [B, C]."""
        appearance = run_layers(self.blocks, self.preprocess(texture)).flatten(1)
        both = torch.cat([appearance, leaky_relu(self.shape(shape.flatten(1)))], dim=1)
        features = leaky_relu(self.joint(both))
        return Code(self.mean(features), SPREAD * self.log_spread(features))
