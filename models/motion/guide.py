"""Guide: a transformer that samples key-pose tokens for a clip (arXiv 2401.01885, section 4.3).

Letters: B sequences, L rows of speech features, A their width, M rows after the convolutions,
d width, N codes (id N is the start token), S tokens of a sequence (K key poses times R codebooks,
key pose by key pose).

The memory of a clip is computed once. Each token then costs one row, because keys and values of
the rows before it are cached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import checkpoint
from models.motion.layers import (
    DROPOUT,
    DecoderLayer,
    KeysValues,
    Pooled,
    rotary_frequencies,
    rotate,
    stack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Generator

AUDIO_DILATIONS = (1, 2, 3, 1, 2, 3)
AUDIO_SLOPE, AUDIO_DROPOUT = 0.2, 0.2
ROWS_LOST = 2 * sum(AUDIO_DILATIONS)  # per block of convolutions without padding


@dataclass(frozen=True)
class GuideConfig:
    """Sizes of a guide; the defaults are the released network."""

    codes: int = 1024
    audio_channels: int = 1024
    audio_blocks: int = 2
    width: int = 64
    layers: int = 6
    heads: int = 4
    hidden: int = 1024
    longest_rows: int = 1998
    dropout: float = DROPOUT  # in training only

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and divisible by {self.heads} heads")

    @property
    def fewest_rows(self) -> int:
        """L of the shortest clip."""
        return ROWS_LOST * self.audio_blocks + 1


@dataclass(frozen=True)
class GuideCondition:
    """Condition of a clip, computed once before sampling."""

    hidden: Tensor  # [B, d] pooled clip
    memories: tuple[KeysValues, ...]  # per layer


class Guide(nn.Module):
    """Causal transformer over key-pose tokens, conditioned on speech features."""

    def __init__(self, config: GuideConfig) -> None:
        super().__init__()
        self.config = config
        width, audio = config.width, config.audio_channels
        self.token_in = nn.Embedding(config.codes + 1, width)
        self.audio = stack(
            nn.Conv1d(audio, audio, 3, dilation=dilation)
            for dilation in AUDIO_DILATIONS * config.audio_blocks
        )
        self.audio_out = nn.Conv1d(audio, audio, 1)
        self.audio_in = nn.Linear(audio, width)
        self.pooled = Pooled(width)
        self.null_tokens = nn.Parameter(torch.randn(1, config.longest_rows, width))
        self.null_hidden = nn.Parameter(torch.randn(1, width))
        self.memory_norm = nn.LayerNorm(width)
        self.layers = stack(
            DecoderLayer(width, config.heads, config.hidden, config.dropout)
            for _ in range(config.layers)
        )
        self.logits_out = nn.Linear(width, config.codes)

    @property
    def start(self) -> int:
        """Start token of every sequence."""
        return self.config.codes

    def condition(self, features: Tensor, keep: Tensor | None = None) -> GuideCondition:
        """Encode speech features [B, L, A] as a condition; keep [B] drops it where False.

        Raises: ValueError: when the clip is too long, or too short for the convolutions.
        """
        rows = features.shape[1]
        if not self.config.fewest_rows <= rows <= self.config.longest_rows:
            raise ValueError(
                f"the clip has {rows} rows of speech features; the guide takes "
                f"{self.config.fewest_rows} to {self.config.longest_rows}"
            )
        x = features.transpose(1, 2)
        for convolution in self.audio:
            x = functional.leaky_relu(convolution(x), AUDIO_SLOPE)
            x = functional.dropout(x, AUDIO_DROPOUT, training=self.training)
        tokens = self.audio_in(self.audio_out(x).transpose(1, 2))  # [B, A, M] -> [B, M, d]
        hidden = self.pooled(tokens)
        if keep is not None:
            null = self.null_tokens[:, : tokens.shape[1]]
            tokens = torch.where(keep[:, None, None], tokens, null)
            hidden = torch.where(keep[:, None], hidden, self.null_hidden)
        plain = self.memory_norm(tokens)
        rotated = rotate(plain, self._freqs_cis(tokens.shape[1], plain.device))
        memories = (layer.memory_attentions[0].keys_values(rotated, plain) for layer in self.layers)
        return GuideCondition(hidden, tuple(memories))

    def forward(self, tokens: Tensor, condition: GuideCondition) -> Tensor:
        """Tokens [B, S], the first is `start` -> logits of the next token of each, [B, S, N]."""
        x = self.token_in(tokens)
        freqs_cis = self._freqs_cis(tokens.shape[1], x.device)
        for layer, memory in zip(self.layers, condition.memories, strict=True):
            x = layer(x, freqs_cis, condition.hidden, (memory,), causal=True)
        return self.logits_out(x)

    def _freqs_cis(self, rows: int, device: torch.device) -> Tensor:
        return rotary_frequencies(rows, self.config.width, device=device)


class IncrementalDecoder:
    """Token-by-token decoding with cached keys and values."""

    def __init__(self, guide: Guide, condition: GuideCondition, length: int) -> None:
        """Allocate the cache.

        length: S, the length of the longest sequence.
        """
        config = guide.config
        self._guide, self._condition = guide, condition
        self._freqs_cis = rotary_frequencies(length, config.width, device=condition.hidden.device)
        shape = (len(condition.hidden), config.heads, length, config.width // config.heads)
        self._past = [
            KeysValues(condition.hidden.new_zeros(shape), condition.hidden.new_zeros(shape))
            for _ in guide.layers
        ]
        self._position = 0

    def step(self, token: Tensor) -> Tensor:
        """Append a token to each sequence [B] -> logits of the next, [B, N]."""
        x = self._guide.token_in(token)[:, None]  # [B, 1, d]
        freqs_cis = self._freqs_cis[self._position : self._position + 1]
        parts = zip(self._guide.layers, self._condition.memories, self._past, strict=True)
        for layer, memory, past in parts:
            x = layer.step(
                x,
                freqs_cis,
                self._condition.hidden,
                (memory,),
                past=past,
                position=self._position,
            )
        self._position += 1
        return self._guide.logits_out(x)[:, 0]


@dataclass(frozen=True)
class Nucleus:
    """Most likely tokens whose probabilities sum to top_p."""

    probabilities: Tensor  # [B, N] descending, renormalised, 0 outside the nucleus
    tokens: Tensor  # [B, N] token of each probability

    def sample(self, generators: Sequence[Generator]) -> Tensor:
        """Sample one token per row with the row's generator, on the generator's device: [B]."""
        rows = [
            torch.multinomial(row.to(generator.device), 1, generator=generator)
            for row, generator in zip(self.probabilities, generators, strict=True)
        ]
        picked = torch.stack(rows).to(self.tokens.device)  # [B, 1]
        return self.tokens.gather(1, picked)[:, 0]


def nucleus(logits: Tensor, top_p: float) -> Nucleus:
    """Nucleus (top-p) filter of logits [B, N] (arXiv 1904.09751).

    Contains the tokens before the sum reaches top_p and the one that crosses it. The most likely
    token is always included; top_p is above 0.
    """
    descending, tokens = logits.softmax(-1).sort(dim=-1, descending=True)
    before = functional.pad(descending.cumsum(-1)[:, :-1], (1, 0))
    inside = torch.where(before < top_p, descending, torch.zeros_like(descending))
    return Nucleus(inside / inside.sum(-1, keepdim=True), tokens)


def generate(
    guide: Guide,
    condition: GuideCondition,
    *,
    keys: int,
    depth: int,
    top_p: float,
    generators: Sequence[Generator],
    known: Tensor | None = None,  # [B, P, R]
    progress: Callable[[float], None] = lambda _share: None,
) -> Tensor:
    """Sample tokens [B, K, R] autoregressively, with one generator for each of the B sequences.

    known: tokens of the first P key poses, which are continued.
    """
    length = keys * depth
    given = [] if known is None else list(known.flatten(1).unbind(1))
    decoder = IncrementalDecoder(guide, condition, length)
    token = torch.full(
        (len(condition.hidden),), guide.start, dtype=torch.long, device=condition.hidden.device
    )
    sampled = []
    for position in range(length):
        logits = decoder.step(token)
        token = (
            given[position] if position < len(given) else nucleus(logits, top_p).sample(generators)
        )
        sampled.append(token)
        progress((position + 1) / length)
    return torch.stack(sampled, dim=1).view(-1, keys, depth)


def load_guide(path: Path, *, device: torch.device) -> Guide:
    """Load guide.safetensors.

    Raises: CheckpointError: when the file is missing, damaged or holds another network.
    """
    config, weights = checkpoint.read(path, device=device)
    network = Guide(checkpoint.config_of(GuideConfig, config, path))
    return checkpoint.restore(network, weights, path).to(device)
