"""Where light does not reach the skin: told by the pose, or by a picture of what is hidden.

Source: spec/renderer.md section 10. Letters: B frames, L side of a network's map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.avatar.codec.networks.layers import (
    Convolution,
    leaky,
    resized,
    through_upwards,
    upwards,
)

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig

LIGHT = 1.0  # added before the sigmoid: without a reason there is light


class PoseShadow(nn.Module):
    """Pose [B, 104] -> light [B, 1, L, L], 0 to 1."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.seed = nn.Linear(config.pose, config.pose_shadow[0] * 16)
        self.layers = upwards(config.pose_shadow)

    def forward(self, pose: Tensor) -> Tensor:
        seed = leaky(self.seed(pose)).view(len(pose), -1, 4, 4)
        return torch.sigmoid(through_upwards(self.layers, seed) + LIGHT)


class OcclusionShadow(nn.Module):
    """A picture of ambient occlusion [B, 1, any, any] -> light [B, 1, L, L], 0 to 1."""

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
        if occlusion.shape[-1] != size:
            occlusion = interpolate(occlusion, (size, size), mode="nearest")
        x = leaky(self.down[0](occlusion - self.mean))
        passed = [x]
        for layer in self.down[1:]:
            x = leaky(layer(resized(x, x.shape[-1] // 2, corners=True)))
            passed.append(x)
        x = leaky(self.up[0](passed.pop()))
        for layer in self.up[1:]:
            beside = passed.pop()
            x = resized(x, beside.shape[-1], corners=True)
            x = leaky(layer(torch.cat([x, beside], dim=1)))
        return torch.sigmoid(self.out(x) + LIGHT)
