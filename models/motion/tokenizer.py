"""Tokenizer of key poses: a residual vector quantiser (arXiv 2401.01885, section 4.3).

Letters: B clips, K key poses (one per second), C = 104 channels, d width of a code, R codebooks,
N codes in each, V vectors (B * K).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import checkpoint
from models.motion.layers import stack

if TYPE_CHECKING:
    from pathlib import Path

SLOPE = 0.2
DILATIONS = (1, 2, 3, 1)
REACH = sum(DILATIONS)  # receptive field: key poses before the token's own


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of a tokenizer; the defaults are the released network."""

    channels: int = 104
    width: int = 64
    codes: int = 1024
    depth: int = 4  # R

    def __post_init__(self) -> None:
        for name in ("channels", "width", "codes", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Tokenizer(nn.Module):
    """Causal convolutional encoder and decoder around a residual quantiser."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.width, config.channels
        self.encoder_in = nn.Conv1d(channels, width, 1)
        self.encoder = stack(nn.Conv1d(width, width, 2, dilation=d) for d in DILATIONS)
        self.decoder = stack(nn.Conv1d(width, width, 2, dilation=d) for d in DILATIONS)
        self.decoder_out = nn.Conv1d(width, channels, 1)
        self.codebooks = nn.Parameter(
            torch.randn(config.depth, config.codes, width), requires_grad=False
        )

    def latent(self, poses: Tensor) -> Tensor:
        """Encode normalised poses [B, K, C] without quantisation -> [B, K, d]."""
        x = functional.pad(poses.transpose(1, 2), (REACH, 0))
        x = self.encoder_in(x)
        for convolution in self.encoder:
            x = convolution(functional.leaky_relu(x, SLOPE))
        return x.transpose(1, 2)

    def encode(self, poses: Tensor) -> Tensor:
        """Quantise normalised poses [B, K, C] -> tokens [B, K, R]."""
        residual = self.latent(poses).flatten(0, 1)  # [V, d]
        tokens = []
        for codebook in self.codebooks:
            tokens.append(nearest(residual, codebook))
            residual = residual - codebook[tokens[-1]]
        return torch.stack(tokens, dim=-1).view(*poses.shape[:2], -1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Decode tokens [B, K, R] -> normalised poses [B, K, C].

        Raises: ValueError: when the tokens have another shape.
        """
        if tokens.ndim != 3 or tokens.shape[2] != self.config.depth:
            raise ValueError(
                f"tokens must be [B, K, {self.config.depth}], got {list(tokens.shape)}"
            )
        parts = [book[index] for book, index in zip(self.codebooks, tokens.unbind(-1), strict=True)]
        return self.decode_latent(torch.stack(parts).sum(0))

    def decode_latent(self, latent: Tensor) -> Tensor:
        """Decode sums of codes [B, K, d] -> normalised poses [B, K, C]."""
        x = functional.pad(latent.transpose(1, 2), (REACH, 0))
        for convolution in self.decoder:
            x = functional.leaky_relu(convolution(x), SLOPE)
        return self.decoder_out(x).transpose(1, 2)


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code of each vector: [V, d] and [N, d] -> [V]."""
    distance = (
        vectors.square().sum(1, keepdim=True)
        - 2 * vectors @ codebook.T
        + codebook.square().sum(1)[None]
    )
    return distance.argmin(1)


def load_tokenizer(path: Path, *, device: torch.device) -> Tokenizer:
    """Load tokenizer.safetensors.

    Raises: CheckpointError: when the file is missing, damaged or holds another network.
    """
    config, weights = checkpoint.read(path, device=device)
    network = Tokenizer(checkpoint.config_of(TokenizerConfig, config, path))
    return checkpoint.restore(network, weights, path).to(device)
