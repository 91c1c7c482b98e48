"""Shadow networks: light on the skin from the pose or from an ambient occlusion image.

Source: spec/renderer.md section 10. Letters: B frames, L side of the output map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.avatar.codec.networks.layers import (
    Convolution,
    leaky_relu,
    resized,
    run_transposed,
    transposed_convolutions,
)

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig

LIGHT = 1.0  # added before the sigmoid, so that the default is lit


class PoseShadow(nn.Module):
    """Light from a pose: [B, 104] -> [B, 1, L, L], 0 to 1."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.seed = nn.Linear(config.pose, config.pose_shadow[0] * 16)
        self.layers = transposed_convolutions(config.pose_shadow)

    def forward(self, pose: Tensor) -> Tensor:
        seed = leaky_relu(self.seed(pose)).view(len(pose), -1, 4, 4)
        return torch.sigmoid(run_transposed(self.layers, seed) + LIGHT)


class OcclusionShadow(nn.Module):
    """Light from an ambient occlusion image: [B, 1, any, any] -> [B, 1, L, L], 0 to 1."""

    mean: Tensor  # [1, L, L]

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        n, size, levels = config.occlusion, config.occlusion_size, config.occlusion_levels
        sizes = [size >> level for level in range(levels)]
        self.register_buffer("mean", torch.zeros(1, size, size))
        self.down = nn.ModuleList(Convolution(1 if s == size else n, n, s) for s in sizes)
        self.up = nn.ModuleList(
            Convolution(n if s == sizes[-1] else 2 * n, n, s) for s in sizes[::-1]
        )
        self.out = nn.Conv2d(n, 1, 3, padding=1)

    def forward(self, occlusion: Tensor) -> Tensor:
        size = self.mean.shape[-1]
        if occlusion.shape[-2:] != (size, size):
            occlusion = interpolate(occlusion, (size, size), mode="nearest")
        x = leaky_relu(self.down[0](occlusion - self.mean))
        skips = [x]
        for layer in self.down[1:]:
            x = leaky_relu(layer(resized(x, x.shape[-1] // 2, corners=True)))
            skips.append(x)
        x = leaky_relu(self.up[0](skips.pop()))
        for layer in self.up[1:]:
            skip = skips.pop()
            x = resized(x, skip.shape[-1], corners=True)
            x = leaky_relu(layer(torch.cat([x, skip], dim=1)))
        return torch.sigmoid(self.out(x) + LIGHT)
