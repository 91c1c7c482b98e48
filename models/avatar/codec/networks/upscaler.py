"""Upscaling and the final texture of the body, in linear light, 0 to 255.

Source: spec/renderer.md section 10. Letters: B frames, S side of the network maps (1024); the
final texture has twice that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, pixel_shuffle

from models.avatar.codec.networks.layers import Convolution, leaky_relu, resized

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig
    from models.avatar.codec.texture.seams import Seams

BLUR_SIZE, BLUR_SIGMA = 11, 2.0  # texels, for the mean texture of a released person


class Upscaler(nn.Module):
    """Fine detail from mean texture and view residual: [B, 6, S, S] -> [B, 3, 2 S, 2 S]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.interleaved = False
        self.inner = Convolution(6, config.upscale, config.uv_size)
        self.out = Convolution(config.upscale, 12, config.uv_size, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.out(leaky_relu(self.inner(x)))  # [B, 12, S, S]: colour, row, column of 4 texels
        if not self.interleaved:
            return pixel_shuffle(x, 2)
        count, size = len(x), x.shape[-1]
        rows = x.permute(0, 2, 3, 1).reshape(count, size, size, 2, 6).transpose(2, 3)
        return rows.reshape(count, 2 * size, 2 * size, 3).permute(0, 3, 1, 2)

    def interleave(self) -> None:
        """Reorder the channels to row, column, colour, so that six values are moved at once."""
        order = torch.arange(12).view(3, 2, 2).permute(1, 2, 0).flatten()
        for parameter in (self.out.weight, self.out.bias):
            parameter.data = parameter.data[order.to(parameter.device)]
        self.interleaved = True


@dataclass(frozen=True)
class Finish:
    """Last step of the texture: seams, mean, spread and light."""

    seams: Seams  # of the network maps
    fine_seams: Seams  # of the final texture
    mean: Tensor  # [1, 3, 2 S, 2 S]
    spread: float

    def light(self, shadow: Tensor) -> Tensor:
        """Light on every texel from the output of a shadow network: [B, 1, L, L] ->
        [B, 1, 2 S, 2 S]."""
        return self.fine_seams.close(resized(shadow, self.fine_seams.size))

    def texture(self, base: Tensor, detail: Tensor, light: Tensor) -> Tensor:
        """Combine base [B, 3, S, S] (overwritten), detail and light [B, ., 2 S, 2 S]
        -> [B, 3, 2 S, 2 S]."""
        base = self.seams.blend(self.seams.fill(base))
        fine = resized(base, self.fine_seams.size).add_(detail)
        return self.fine_seams.close(fine.mul_(self.spread).add_(self.mean).mul_(light))


def blurred_mean(mean: Tensor, size: int) -> Tensor:
    """Blur and resize a released mean texture: [3, H, W] -> [1, 3, size, size]."""
    at = torch.arange(BLUR_SIZE, dtype=torch.float32) - BLUR_SIZE // 2
    bell = torch.exp(-(at**2) / (2 * BLUR_SIGMA**2))
    kernel = torch.outer(bell / bell.sum(), bell / bell.sum()).expand(3, 1, -1, -1)
    edge = BLUR_SIZE // 2
    blurred = conv2d(pad(mean[None].float(), (edge,) * 4, mode="reflect"), kernel, groups=3)
    return resized(blurred, size)
