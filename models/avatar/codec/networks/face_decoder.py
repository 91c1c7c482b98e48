"""A face code as the motion networks make it -> the shape and the texture of the face.

Source: spec/renderer.md section 7. Nobody sees this face: it only feeds the face encoder.
Letters: B frames, C a face code's width, S the side of the face's texture (1024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.avatar.codec.networks.layers import leaky, through_upwards, upwards

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig


@dataclass(frozen=True)
class Face:
    """A face, before the body has it."""

    shape: Tensor  # [B, vertices, 3]
    drawn: Tensor  # [B, 3, S, S] as the network draws it, about 0

    def texture(self, mean: Tensor) -> Tensor:
        """mean [3, S, S] -> [B, 3, S, S], 0 to 255"""
        return 255 * (self.drawn + mean + 0.5)


class FaceDecoder(nn.Module):
    """Face codes to faces, seen from one side that never changes."""

    frontal_view: Tensor  # [3]

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        channels = config.face_texture
        size = 4 << (len(channels) - 1)
        hidden, views = config.face_hidden, config.face_view_features
        self.register_buffer("frontal_view", torch.zeros(3))
        self.mean = nn.Parameter(torch.zeros(channels[-1], size, size))
        self.hidden = nn.Linear(config.face_code, hidden)
        self.shape = nn.Linear(hidden, config.face_vertices * 3)
        self.view = nn.Linear(3, views)
        self.seed = nn.Linear(hidden + views, channels[0] * 16)
        self.layers = upwards(channels)

    def forward(self, code: Tensor) -> Face:
        hidden = leaky(self.hidden(code))  # [B, C] -> [B, 256]
        shape = self.shape(hidden).view(len(code), -1, 3)
        view = leaky(self.view(self.frontal_view)).expand(len(code), -1)  # [B, 8]
        seed = leaky(self.seed(torch.cat([hidden, view], dim=1)))
        return Face(shape, through_upwards(self.layers, seed.view(len(code), -1, 4, 4)))
