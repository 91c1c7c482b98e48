"""The layers of the codec avatar: convolutions whose bias is a picture of its own, in blocks.

Source: spec/renderer.md section 2. Released kernels carry one norm over all of a kernel; it is
folded into them when a person is imported, so nothing of it is left here.
Letters: B frames, I and O channels in and out, S the side of a map.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, leaky_relu_

SLOPE = 0.2  # of what is below zero


def leaky(x: Tensor) -> Tensor:
    """Leaky rectifier, in place: only for what the caller has just made."""
    return leaky_relu_(x, SLOPE)


def resized(x: Tensor, size: int, *, corners: bool = False) -> Tensor:
    """Bilinear: [B, C, S, S] -> [B, C, size, size]. corners: the corners' centres stay in place."""
    if x.shape[-1] == size:
        return x
    return interpolate(x, (size, size), mode="bilinear", align_corners=corners)


def together(first: Tensor, second: Tensor) -> Tensor:
    """The channels of both, [B, ., S, S], lying in memory as those of the second do."""
    both = torch.cat([first, second], dim=1)
    if second.is_contiguous(memory_format=torch.channels_last):
        return both.contiguous(memory_format=torch.channels_last)
    return both


class Convolution(nn.Module):
    """A convolution with a bias for every texel."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int,  # of what comes out
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.stride, self.groups, self.padding = stride, groups, (kernel - 1) // 2
        self.weight = nn.Parameter(torch.zeros(channels_out, channels_in // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out, size, size))

    def forward(self, x: Tensor) -> Tensor:
        y = conv2d(x, self.weight, None, self.stride, self.padding, 1, self.groups)
        return y.add_(self.bias)  # [B, I, S, S] -> [B, O, S / stride, S / stride]


class Upwards(nn.Module):
    """A transposed convolution to twice the size, with a bias for every texel."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        """size: of what comes out."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels_in, channels_out, 4, 4))
        self.bias = nn.Parameter(torch.zeros(channels_out, size, size))

    def forward(self, x: Tensor) -> Tensor:
        return conv_transpose2d(x, self.weight, None, 2, 1).add_(self.bias)


class Block(nn.Module):
    """Two convolutions and a 1x1 one beside them. stride 2: to half the size."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int,  # of what comes in
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        after, c, o = size // stride, channels_in, channels_out
        self.first = Convolution(c, c, size, kernel=kernel, groups=groups)
        self.second = Convolution(c, o, after, kernel=kernel, stride=stride, groups=groups)
        self.skip = nn.Conv2d(c, o, 1, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.straight(x).add_(self.skip(x))

    def straight(self, x: Tensor) -> Tensor:
        """Without what goes beside."""
        return leaky(self.second(leaky(self.first(x))))


class UpBlock(Block):
    """The same after enlarging to its size. What goes beside is enlarged last: it is the same to
    rounding, and a quarter of the work."""

    def forward(self, x: Tensor) -> Tensor:
        size = self.first.bias.shape[-1]
        beside = resized(self.skip(x), size, corners=True)
        return self.straight(resized(x, size, corners=True)).add_(beside)


def rising(channels: tuple[int, ...], size: int, *, groups: int = 1) -> nn.ModuleList:
    """Blocks that double the size each: channels before, between and after; size: before."""
    pairs = enumerate(pairwise(channels), start=1)
    return nn.ModuleList(UpBlock(i, o, size << n, groups=groups) for n, (i, o) in pairs)


def falling(channels: tuple[int, ...]) -> nn.ModuleList:
    """Blocks that halve the size each, down to 4."""
    pairs = list(pairwise(channels))
    size = 4 << len(pairs)
    return nn.ModuleList(Block(i, o, size >> n, stride=2) for n, (i, o) in enumerate(pairs))


def through(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """One after the other."""
    for block in blocks:
        x = block(x)
    return x


def upwards(channels: tuple[int, ...]) -> nn.ModuleList:
    """Transposed convolutions from size 4 on."""
    pairs = enumerate(pairwise(channels), start=1)
    return nn.ModuleList(Upwards(i, o, 4 << n) for n, (i, o) in pairs)


def through_upwards(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """One after the other, rectified between and not at the end."""
    for layer in layers[:-1]:
        x = leaky(layer(x))
    return layers[-1](x)


def channels_last(network: nn.Module) -> nn.Module:
    """Kernels and biases with channels together, in place: what CPUs read fastest."""
    for layer in network.modules():
        if isinstance(layer, Convolution | Upwards | nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        if isinstance(layer, Convolution | Upwards):
            bias = layer.bias.data[None].contiguous(memory_format=torch.channels_last)
            layer.bias.data = bias[0]
    return network
