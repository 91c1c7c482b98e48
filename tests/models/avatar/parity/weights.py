"""Weights and inputs of golden cases, generated from key, shape and seed.

The generator of a tensor is default_rng(crc32(key) XOR seed), with one call for its shape, so a
golden file contains inputs and outputs but no weights.
"""

import re
import zlib

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.avatar.codec.config import CodecConfig
from models.avatar.codec.model import CodecNetworks
from models.avatar.codec.networks.layers import TransposedConvolution
from models.released.codec_keys import layer_names

BIAS = 0.05
GAINS = (  # these keep geometry, texture and shadow in a useful range
    (r"\.conv_resize\.", 0.7),
    (r"\.conv2\.", 0.7),
    (r"\.unet\.up\d\.0\.", 0.5),
    (r"decoder\.verts_conv\.", 0.25),
    (r"decoder\.tex_conv\.", 0.5),
    (r"upscale_net\.out_block\.", 0.15),
    (r"decoder_view\.unet\.out\.", 3.0),
    (r"decoder_face\.texmod\.14\.", 0.2),
    (r"shadow_net\.shadow_pred\.", 0.5),
    (r"pose_to_shadow\.conv_block\.8\.", 0.5),
)


def released_state(config: CodecConfig, seed: int) -> dict[str, Tensor]:
    """State dict of a released avatar of these sizes, without buffers."""
    with torch.device("meta"):
        networks = CodecNetworks(config)
    shapes, state = networks.state_dict(), {}
    for ours, theirs in layer_names(config):
        transposed = isinstance(networks.get_submodule(ours), TransposedConvolution)
        state |= layer(theirs, tuple(shapes[f"{ours}.weight"].shape), seed, transposed=transposed)
        state[f"{theirs}.bias"] = bias(theirs, tuple(shapes[f"{ours}.bias"].shape), seed)
    mean = bias("decoder_face", tuple(shapes["face_decoder.mean"].shape), seed)
    return {**state, "decoder_face.bias": mean}


def bias(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Bias of a layer."""
    return _normal(f"{name}.bias", shape, seed, BIAS)


def layer(name: str, shape: tuple[int, ...], seed: int, *, transposed: bool) -> dict[str, Tensor]:
    """Kernel and gains of a layer with weight normalisation."""
    fan_in = shape[0] * shape[2] * shape[3] // 4 if transposed else int(np.prod(shape[1:]))
    spread = np.sqrt(2 / 1.04 / fan_in)
    key = f"{name}.weight_g"
    gain = next((gain for pattern, gain in GAINS if re.search(pattern, key)), 1.0)
    size = [1] * len(shape)
    size[1 if transposed else 0] = shape[1 if transposed else 0]
    gains = 0.8 + 0.4 * _generator(key, seed).random(size, dtype=np.float32)
    scale = np.float32(spread * np.sqrt(np.prod(shape)) * gain)
    kernel = _normal(f"{name}.weight_v", shape, seed, np.sqrt(2 / 1.04 / fan_in))
    return {f"{name}.weight_v": kernel, key: torch.from_numpy((gains * scale).astype(np.float32))}


def _normal(key: str, shape: tuple[int, ...], seed: int, spread: float) -> Tensor:
    values = _generator(key, seed).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(values * np.float32(spread))


def _generator(key: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(key.encode()) ^ seed)


def random_map(seed: int, channels: int, size: int, *, batch: int = 1) -> Tensor:
    """Smooth random image with fine noise, [batch, channels, size, size]."""
    generator = np.random.default_rng(seed)
    coarse = torch.from_numpy(
        generator.standard_normal((batch, channels, 32, 32), dtype=np.float32)
    )
    smooth = interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    fine = generator.standard_normal((batch, channels, size, size), dtype=np.float32)
    return smooth + 0.05 * torch.from_numpy(fine)


def random_vectors(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(values) * scale
