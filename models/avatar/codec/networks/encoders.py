"""From what a body or a face looks like to its code.

Source: spec/renderer.md section 6. The body's code is that of an unmoved body, so it is computed
once. Letters: B frames, C a code's width, S the side of an encoder's map (512).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.avatar.codec.networks.layers import falling, leaky, resized, through

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig

SPREAD = 0.1  # what the logarithm of a code's spread is multiplied with


@dataclass(frozen=True)
class Code:
    """A code and how far it may be off; when rendering, the mean is the code."""

    mean: Tensor  # [B, C]
    log_spread: Tensor  # [B, C]


class BodyEncoder(nn.Module):
    """Where every vertex is, beyond the template, as a map -> the body's code."""

    mask: Tensor  # [S, S] what is not face

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        channels = config.body_encoder
        self.size = 4 << (len(channels) - 1)
        self.register_buffer("mask", torch.ones(self.size, self.size))
        self.blocks = falling(channels)
        self.mean = nn.Linear(channels[-1] * 16, config.body_code)
        self.log_spread = nn.Linear(channels[-1] * 16, config.body_code)

    def forward(self, moved: Tensor) -> Code:
        """moved [B, 3, uv, uv] -> [B, C]"""
        x = resized(moved, self.size) * self.mask
        flat = through(self.blocks, x).flatten(1)  # [B, 128 * 4 * 4]
        return Code(self.mean(flat), SPREAD * self.log_spread(flat))


class FaceEncoder(nn.Module):
    """A face's shape and texture -> the face's code as the body's decoder wants it."""

    mask: Tensor  # [S, S] which texels count

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        channels = config.face_encoder
        self.size = 4 << (len(channels) - 1)
        self.register_buffer("mask", torch.ones(self.size, self.size))
        self.blocks = falling(channels)
        self.shape = nn.Linear(config.face_vertices * 3, config.face_shape_features)
        features = channels[-1] * 16 + config.face_shape_features
        self.joint = nn.Linear(features, config.face_features)
        self.mean = nn.Linear(config.face_features, config.face_code)
        self.log_spread = nn.Linear(config.face_features, config.face_code)

    def seen(self, texture: Tensor) -> Tensor:
        """What the convolutions see of a texture [B, 3, 2 S, 2 S], 0 to 255 -> [B, 3, S, S]"""
        return (resized(texture, self.size) / 255 - 0.5) * self.mask

    def forward(self, shape: Tensor, texture: Tensor) -> Code:
        """shape [B, vertices, 3] and texture [B, 3, 2 S, 2 S] -> [B, C]"""
        look = through(self.blocks, self.seen(texture)).flatten(1)
        both = torch.cat([look, leaky(self.shape(shape.flatten(1)))], dim=1)
        features = leaky(self.joint(both))
        return Code(self.mean(features), SPREAD * self.log_spread(features))
