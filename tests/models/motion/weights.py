"""Deterministic weights for golden cases: each tensor depends on its key, shape and seed only.

The generator of a tensor is default_rng(crc32(key) XOR seed), with one sample of its shape, so a
golden file holds inputs and outputs without weights.
"""

import math
import re
import zlib

import numpy as np
import torch
from torch import Tensor

COMPUTED = re.compile(r"(^|\.)(rotary\.freqs|(audio_)?resampler\.kernel|pe)$")
UNUSED = re.compile(  # large and unused; `test_motion_keys.py` checks that they are tolerated
    r"(audio_model\.(feature_aggregator|vector_quantizer)|.*wav2vec_predictions)\."
)
UNIT_SCALE = ("embed", "vars", "null_cond_embed", "null_pose_embed")


def make_state_dict(spec: dict, seed: int, prefix: str = "") -> dict[str, Tensor]:
    """State dict under released keys, without computed and unused tensors."""
    return {
        key: torch.from_numpy(_values(prefix + key, tuple(entry["shape"]), seed))
        for key, entry in spec.items()
        if not COMPUTED.search(prefix + key) and not UNUSED.match(prefix + key)
    }


def _values(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    generator = np.random.default_rng((zlib.crc32(key.encode()) ^ seed) & 0xFFFFFFFF)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "inited":
        return np.ones(shape, np.float32)
    if leaf == "cluster_size":
        return (4.0 + 16.0 * generator.random(shape)).astype(np.float32)
    x = generator.standard_normal(shape)
    if leaf == "embed_avg":
        x = 12.0 * x
    elif leaf in UNIT_SCALE or leaf == "null_cond_hidden" or "token_embedding" in key:
        pass
    elif leaf.endswith("bias"):
        x = 0.05 * x
    elif len(shape) <= 1:
        x = 1.0 + 0.1 * x
    else:
        x = x / math.sqrt(int(np.prod(shape[1:])))
    return np.asarray(x, dtype=np.float32)


def synth_audio(seed: int, seconds: float, batch: int, rate: int = 48_000) -> np.ndarray:
    """Synthetic audio, int16 [batch, samples, 2], normalised audio times 4096.

    Gated noise that resembles speech in channel 0 and is sparser in channel 1.
    """
    generator = np.random.default_rng(seed + 7_000_003)
    count = round(seconds * rate)
    kernel = np.array([0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05])
    audio = np.zeros((batch, count, 2), np.int16)
    for clip in range(batch):
        for channel in range(2):
            knots = generator.random(max(2, int(seconds * 8)) + 2) ** 2
            places = np.linspace(0, len(knots) - 1, count)
            envelope = np.interp(places, np.arange(len(knots)), knots)
            if channel == 1:
                envelope = np.where(envelope > 0.5, envelope, 0.0)
            noise = np.convolve(generator.standard_normal(count), kernel, mode="same")
            wave = noise * 3.0 * envelope * 4096
            audio[clip, :, channel] = np.clip(np.round(wave), -32767, 32767).astype(np.int16)
    return audio
