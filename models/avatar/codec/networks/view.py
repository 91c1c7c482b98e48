"""What a skin's colour is from where a camera stands.

Source: spec/renderer.md section 9. Letters: B frames, V vertices, F faces, N faces that meet in a
vertex at most, S side of the texture (1024).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize

from models.avatar.codec.networks.layers import Convolution, Upwards, leaky, together

if TYPE_CHECKING:
    from models.avatar.codec.config import CodecConfig

FLAT = 1e-5  # twice the area of a face that has no direction
GAIN = 0.1  # of what the network draws


class ViewNet(nn.Module):
    """A U-net over the texture and how much its surface faces the camera."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        seen, size = 4, config.uv_size  # the cosine and three colours
        down, up = (seen, *config.view), (*config.view[::-1], config.view[0])
        self.down = nn.ModuleList(
            Convolution(i, o, size >> n, kernel=4, stride=2)
            for n, (i, o) in enumerate(pairwise(down), start=1)
        )
        self.up = nn.ModuleList(
            Upwards(i, o, size >> (len(config.view) - n))
            for n, (i, o) in enumerate(pairwise(up), start=1)
        )
        self.out = Convolution(up[-1] + seen, 3, size, kernel=1)

    def forward(self, facing: Tensor, texture: Tensor) -> Tensor:
        """facing [B, 1, S, S] and texture [B, 3, S, S] -> what to add to it, [B, 3, S, S]"""
        x = seen = together(facing, texture)
        passed = []
        for layer in self.down:
            x = leaky(layer(x))
            passed.append(x)
        passed.pop()
        for layer in self.up[:-1]:
            x = leaky(layer(x)).add_(passed.pop())
        x = leaky(self.up[-1](x))
        kernels = torch.split(self.out.weight, [x.shape[1], seen.shape[1]], dim=1)
        drawn = conv2d(x, kernels[0]).add_(conv2d(seen, kernels[1]))
        return drawn.add_(self.out.bias).mul_(GAIN)  # a sum, rather than all channels in one map


def faces_around(faces: Tensor, vertices: int) -> Tensor:
    """faces [F, 3] -> those that meet in each vertex, [V, N], filled up with F."""
    corner = faces.long().flatten().cpu()
    order = torch.sort(corner, stable=True).indices
    counts = torch.bincount(corner, minlength=vertices)
    turn = torch.arange(len(corner)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    around = torch.full((vertices, int(counts.max())), len(faces))
    around[corner[order], turn] = order // 3
    return around.to(faces.device)


def vertex_normals(posed: Tensor, faces: Tensor, around: Tensor) -> Tensor:
    """posed [B, V, 3] -> unit normals [B, V, 3]; every face counts the same, small or large."""
    a, b, c = (posed[:, faces[:, corner]] for corner in range(3))
    across = torch.linalg.cross(b - a, c - a)  # [B, F, 3]
    size = across.norm(dim=-1, keepdim=True)
    across = across / torch.where(size < FLAT, 1.0, size)
    padded = torch.cat([across, torch.zeros_like(across[:, :1])], dim=1)
    return normalize(padded[:, around].sum(2), dim=-1)


def facing_camera(posed: Tensor, normals: Tensor, position: Tensor) -> Tensor:
    """The cosine of normals [B, V, 3] with the way from the camera [3] or [B, 3]: [B, V].

    Below zero where the surface can be seen.
    """
    way = normalize(posed - position.view(-1, 1, 3), dim=-1)
    return (normals * way).sum(-1)
