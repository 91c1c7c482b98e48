"""Layers: fast implementations against plain ones."""

import pytest
import torch
from torch.nn.functional import interpolate, leaky_relu

from models.avatar.codec.networks.layers import (
    Block,
    Convolution,
    TransposedConvolution,
    UpBlock,
    channels_last,
    resized,
)
from models.avatar.codec.networks.shadow import OcclusionShadow
from models.released.codec_keys import fold_weight_norm
from tests.models.avatar.codec.tiny import FROM_OCCLUSION

Tensor = torch.Tensor


def filled(network: torch.nn.Module) -> torch.nn.Module:
    rng = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng)
    return network.requires_grad_(False)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def test_the_skip_connection_may_be_upsampled_after_its_convolution() -> None:
    block, x = filled(UpBlock(4, 6, 16, groups=2)), random(2, 4, 8, 8)
    large = interpolate(x, (16, 16), mode="bilinear", align_corners=True)
    inner = leaky_relu(block.first(large), 0.2)
    plain = leaky_relu(block.second(inner), 0.2) + block.skip(large)
    torch.testing.assert_close(block(x), plain, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_is_the_sum_of_two_convolutions_and_a_skip_connection(stride: int) -> None:
    block, x = filled(Block(3, 5, 8, stride=stride)), random(1, 3, 8, 8)
    assert block(x).shape == (1, 5, 8 // stride, 8 // stride)
    torch.testing.assert_close(block(x), block.main_path(x) + block.skip(x))


@pytest.mark.parametrize("layer", [Convolution(3, 4, 8), TransposedConvolution(3, 4, 16)])
def test_the_memory_layout_does_not_change_the_output(layer: torch.nn.Module) -> None:
    layer, x = filled(layer), random(2, 3, 8, 8)
    plain = layer(x)
    fast = channels_last(layer)(x.contiguous(memory_format=torch.channels_last))
    assert fast.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)


def test_the_bias_has_one_value_per_texel() -> None:
    layer = Convolution(2, 3, 4)
    layer.bias.data = random(3, 4, 4)
    assert torch.equal(layer(torch.zeros(1, 2, 4, 4))[0], layer.bias)


@pytest.mark.parametrize("shape", [(12, 16), (16, 12), (8, 8)])
def test_both_sides_of_a_map_are_resized(shape: tuple[int, int]) -> None:
    x = random(1, 2, *shape)
    plain = interpolate(x, (16, 16), mode="bilinear", align_corners=True)
    assert torch.equal(resized(x, 16, corners=True), plain)


@pytest.mark.parametrize("shape", [(12, 16), (16, 12)])
def test_an_occlusion_map_of_any_shape_is_resized(shape: tuple[int, int]) -> None:
    shadow, x = filled(OcclusionShadow(FROM_OCCLUSION)), random(1, 1, *shape)
    torch.testing.assert_close(shadow(x), shadow(interpolate(x, (16, 16), mode="nearest")))


@pytest.mark.parametrize("transposed", [False, True])
def test_weight_normalisation_uses_one_norm_per_kernel(transposed: bool) -> None:
    kernel, gain = random(4, 6, 3, 3), torch.arange(1.0, 7.0 if transposed else 5.0)
    state = {"layer.weight_v": kernel, "layer.weight_g": gain}
    made = fold_weight_norm(state, "layer", transposed=transposed)
    channel = made[:, 2] if transposed else made[2]
    plain = (kernel[:, 2] if transposed else kernel[2]) * 3 / kernel.square().sum().sqrt()
    torch.testing.assert_close(channel, plain)
