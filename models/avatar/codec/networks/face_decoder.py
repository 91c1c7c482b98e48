"""Face decoder: face codes of the motion networks to the shape and texture of a face.

Source: spec/renderer.md section 7. This face is not rendered; it is the input of the face encoder.
Letters: B frames, C width of a face code, S side of the face texture (1024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.avatar.codec.networks.layers import (
    leaky_relu,
    run_transposed,
    transposed_convolutions,
)

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig


@dataclass(frozen=True)
class Face:
    """Shape and texture of a face."""

    shape: Tensor  # [B, vertices, 3]
    raw_texture: Tensor  # [B, 3, S, S] output of the network, centred at 0

    def texture(self, mean: Tensor) -> Tensor:
        """Texture in the range 0 to 255: mean [3, S, S] -> [B, 3, S, S]."""
        return 255 * (self.raw_texture + mean + 0.5)


class FaceDecoder(nn.Module):
    """Decodes face codes for a fixed frontal view."""

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
        self.layers = transposed_convolutions(channels)

    def forward(self, code: Tensor) -> Face:
        hidden = leaky_relu(self.hidden(code))  # [B, C] -> [B, 256]
        shape = self.shape(hidden).view(len(code), -1, 3)
        view = leaky_relu(self.view(self.frontal_view)).expand(len(code), -1)  # [B, 8]
        seed = leaky_relu(self.seed(torch.cat([hidden, view], dim=1)))
        return Face(shape, run_transposed(self.layers, seed.view(len(code), -1, 4, 4)))
