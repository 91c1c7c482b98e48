"""View network: view-dependent colour of the skin, with the normals that it needs.

Source: spec/renderer.md section 9. Letters: B frames, V vertices, F faces, N largest number of
faces around a vertex, S side of the texture (1024).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize

from models.avatar.codec.networks.layers import (
    Convolution,
    TransposedConvolution,
    concatenated,
    leaky_relu,
)

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig

FLAT = 1e-5  # twice the area below which a face has no normal
GAIN = 0.1  # of the output


class ViewNet(nn.Module):
    """U-Net over the texture and the cosine between surface normals and viewing direction."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        inputs, size = 4, config.uv_size  # the cosine and three colours
        down, up = (inputs, *config.view), (*config.view[::-1], config.view[0])
        self.down = nn.ModuleList(
            Convolution(i, o, size >> n, kernel=4, stride=2)
            for n, (i, o) in enumerate(pairwise(down), start=1)
        )
        self.up = nn.ModuleList(
            TransposedConvolution(i, o, size >> (len(config.view) - n))
            for n, (i, o) in enumerate(pairwise(up), start=1)
        )
        self.out = Convolution(up[-1] + inputs, 3, size, kernel=1)

    def forward(self, facing: Tensor, texture: Tensor) -> Tensor:
        """Texture residual [B, 3, S, S]: facing [B, 1, S, S], texture [B, 3, S, S].

        The last convolution is a sum of two, which saves a map with all channels.
        """
        x = inputs = concatenated(facing, texture)
        skips = []
        for layer in self.down:
            x = leaky_relu(layer(x))
            skips.append(x)
        skips.pop()
        for layer in self.up[:-1]:
            x = leaky_relu(layer(x)).add_(skips.pop())
        x = leaky_relu(self.up[-1](x))
        kernels = torch.split(self.out.weight, [x.shape[1], inputs.shape[1]], dim=1)
        residual = conv2d(x, kernels[0]).add_(conv2d(inputs, kernels[1]))
        return residual.add_(self.out.bias).mul_(GAIN)


def faces_around(faces: Tensor, vertices: int) -> Tensor:
    """Indices of the faces around each vertex: faces [F, 3] -> [V, N], padded with F."""
    corner = faces.long().flatten().cpu()
    order = torch.sort(corner, stable=True).indices
    counts = torch.bincount(corner, minlength=vertices)
    column = torch.arange(len(corner)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    around = torch.full((vertices, int(counts.max())), len(faces))
    around[corner[order], column] = order // 3
    return around.to(faces.device)


def vertex_normals(posed: Tensor, faces: Tensor, around: Tensor) -> Tensor:
    """Unit vertex normals: posed [B, V, 3] -> [B, V, 3]; faces have equal weight, not by area."""
    a, b, c = (posed[:, faces[:, corner]] for corner in range(3))
    across = torch.linalg.cross(b - a, c - a)  # [B, F, 3]
    size = across.norm(dim=-1, keepdim=True)
    across = across / torch.where(size < FLAT, 1.0, size)
    padded = torch.cat([across, torch.zeros_like(across[:, :1])], dim=1)
    return normalize(padded[:, around].sum(2), dim=-1)


def facing_camera(posed: Tensor, normals: Tensor, position: Tensor) -> Tensor:
    """Cosine between normals [B, V, 3] and rays from the camera at [3] or [B, 3]: [B, V].

    Below zero for surfaces that face the camera.
    """
    ray = normalize(posed - position.view(-1, 1, 3), dim=-1)
    return (normals * ray).sum(-1)
