"""Layers of the codec avatar: convolutions with a bias per texel, and residual blocks.

Source: spec/renderer.md section 2. Released kernels have weight normalisation with one norm per
kernel; the import of a person folds it into the weights, so these layers have none.
Letters: B frames, I and O channels in and out, S side of a map.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, leaky_relu_

SLOPE = 0.2  # for values below zero


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU in place; the argument must be a tensor that nothing else uses."""
    return leaky_relu_(x, SLOPE)


def resized(x: Tensor, size: int, *, corners: bool = False) -> Tensor:
    """Bilinear resize: [B, C, H, W] -> [B, C, size, size]. corners: align the corner centres."""
    if x.shape[-2:] == (size, size):
        return x
    return interpolate(x, (size, size), mode="bilinear", align_corners=corners)


def concatenated(first: Tensor, second: Tensor) -> Tensor:
    """Concatenate the channels of [B, ., S, S] in the memory layout of the second tensor."""
    both = torch.cat([first, second], dim=1)
    if second.is_contiguous(memory_format=torch.channels_last):
        return both.contiguous(memory_format=torch.channels_last)
    return both


class Convolution(nn.Module):
    """Convolution with one bias per output texel."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int,  # side of the output
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


class TransposedConvolution(nn.Module):
    """Transposed convolution that doubles the size, with one bias per output texel."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        """Create zero weights. size: side of the output."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels_in, channels_out, 4, 4))
        self.bias = nn.Parameter(torch.zeros(channels_out, size, size))

    def forward(self, x: Tensor) -> Tensor:
        return conv_transpose2d(x, self.weight, None, 2, 1).add_(self.bias)


class Block(nn.Module):
    """Residual block: two convolutions and a 1x1 skip connection. stride 2 halves the size."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int,  # side of the input
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
        return self.main_path(x).add_(self.skip(x))

    def main_path(self, x: Tensor) -> Tensor:
        """The two convolutions, without the skip connection."""
        return leaky_relu(self.second(leaky_relu(self.first(x))))


class UpBlock(Block):
    """Residual block that first upsamples its input to the size of the block.

    The skip connection is upsampled after its 1x1 convolution: the result is the same up to
    rounding, at a quarter of the work.
    """

    def forward(self, x: Tensor) -> Tensor:
        size = self.first.bias.shape[-1]
        skip = resized(self.skip(x), size, corners=True)
        return self.main_path(resized(x, size, corners=True)).add_(skip)


def upsampling_blocks(channels: tuple[int, ...], size: int, *, groups: int = 1) -> nn.ModuleList:
    """Blocks that each double the size. channels: of all maps in order; size: of the first map."""
    pairs = enumerate(pairwise(channels), start=1)
    return nn.ModuleList(UpBlock(i, o, size << n, groups=groups) for n, (i, o) in pairs)


def downsampling_blocks(channels: tuple[int, ...]) -> nn.ModuleList:
    """Blocks that each halve the size, down to 4."""
    pairs = list(pairwise(channels))
    size = 4 << len(pairs)
    return nn.ModuleList(Block(i, o, size >> n, stride=2) for n, (i, o) in enumerate(pairs))


def run_layers(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Apply layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def transposed_convolutions(channels: tuple[int, ...]) -> nn.ModuleList:
    """Transposed convolutions that each double the size, starting at 4."""
    pairs = enumerate(pairwise(channels), start=1)
    return nn.ModuleList(TransposedConvolution(i, o, 4 << n) for n, (i, o) in pairs)


def run_transposed(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Apply layers one after the other, with a leaky ReLU between them."""
    for layer in layers[:-1]:
        x = leaky_relu(layer(x))
    return layers[-1](x)


def channels_last(network: nn.Module) -> nn.Module:
    """Convert kernels and biases to channels-last layout in place, the fastest one on CPUs."""
    for layer in network.modules():
        if isinstance(layer, Convolution | TransposedConvolution | nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        if isinstance(layer, Convolution | TransposedConvolution):
            bias = layer.bias.data[None].contiguous(memory_format=torch.channels_last)
            layer.bias.data = bias[0]
    return network
