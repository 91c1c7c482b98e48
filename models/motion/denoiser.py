"""Face and body denoisers: noisy motion and speech features to clean motion.

Source: arXiv 2401.01885, sections 4.2 and 4.3.
Letters: B samples in a batch, G rows of a condition (B is G times the takes that share a row),
T frames, C channels of motion, L rows of speech features, A their width, d width of the network,
K key poses (one per second).

The condition of a clip is computed once: call `tokens` and `condition` before the diffusion loop
and `forward` in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import checkpoint
from models.motion.layers import (
    DROPOUT,
    DecoderLayer,
    EncoderLayer,
    KeysValues,
    Pooled,
    rotary_frequencies,
    rotate,
    stack,
    time_embedding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Network = TypeVar("Network", bound="Denoiser")

TIME_TOKENS = 2  # rows that encode the timestep, after the rows of the condition
KEY_FRAMES = 30  # frames from one key pose to the next
TAIL_DILATIONS = (1, 2, 3, 1, 2, 3)
TAIL_SLOPE, TAIL_DROPOUT = 0.2, 0.2


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of a denoiser; FACE and BODY are the released networks."""

    channels: int  # C
    audio_channels: int  # A; includes the lip geometry if the face denoiser uses it
    width: int = 512  # d
    layers: int = 8
    heads: int = 8
    hidden: int = 1024
    encoder_layers: int = 0  # over the rows of speech features
    audio_context: int = 0  # neighbouring rows on each side that are part of a token
    longest_rows: int = 1998  # L of the longest clip
    longest_keys: int = 0  # K of the longest clip; 0 in a network without key poses
    tail_hidden: int = 256  # inner width of the body's causal convolutions
    dropout: float = DROPOUT  # in training only

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and divisible by {self.heads} heads")
        if self.audio_context < 0:
            raise ValueError(f"audio_context must be at least 0, got {self.audio_context}")
        if self.longest_rows < 1:
            raise ValueError(f"longest_rows must be at least 1, got {self.longest_rows}")


FACE = DenoiserConfig(channels=256, audio_channels=1024 + 338 * 3, encoder_layers=2)
BODY = DenoiserConfig(channels=104, audio_channels=1024, width=256, layers=6, longest_keys=20)


@dataclass(frozen=True)
class Condition:
    """Condition of a clip, computed once before the diffusion loop."""

    hidden: Tensor  # [G, d] pooled clip
    memories: tuple[tuple[KeysValues, ...], ...]  # per layer; padded at the end for TIME_TOKENS
    frame_freqs: Tensor  # [T, d / 2] complex, or [G, T, d / 2] for clips at several positions
    time_freqs: Tensor  # [2, d / 2] complex, or [G, 2, d / 2] for several lengths or positions
    frame_mask: Tensor | None = None  # [G, 1, 1, T], added to the scores: -inf for padding
    first: int = 0  # position of the first frame

    def conditional(self) -> Condition:
        """Return the rows with the condition, of a condition for guidance; a view."""
        memories = tuple(tuple(memory.first_half() for memory in layer) for layer in self.memories)
        half = len(self.hidden) // 2
        frame_freqs, time_freqs = (
            freqs if freqs.ndim == 2 else freqs[:half]
            for freqs in (self.frame_freqs, self.time_freqs)
        )
        mask = None if self.frame_mask is None else self.frame_mask[:half]
        return Condition(self.hidden[:half], memories, frame_freqs, time_freqs, mask, self.first)


class Denoiser(nn.Module):
    """Face denoiser, and base class of the body denoiser."""

    memories = 1  # per layer

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        width, heads, hidden = config.width, config.heads, config.hidden
        self.motion_in = nn.Linear(config.channels, width)
        rows = 1 + 2 * config.audio_context
        self.audio_in = nn.Linear(config.audio_channels * rows, width)
        self.encoder = stack(
            EncoderLayer(width, heads, hidden, config.dropout) for _ in range(config.encoder_layers)
        )
        self.pooled = Pooled(width)
        self.null_tokens = nn.Parameter(torch.randn(1, config.longest_rows, width))
        self.null_hidden = nn.Parameter(torch.randn(1, width))
        self.memory_norm = nn.LayerNorm(width)
        self.time_in = nn.Linear(width, 4 * width)
        self.time_hidden = nn.Linear(4 * width, width)
        self.time_tokens = nn.Linear(4 * width, TIME_TOKENS * width)
        self.layers = stack(
            DecoderLayer(width, heads, hidden, config.dropout, memories=self.memories)
            for _ in range(config.layers)
        )
        self.motion_out = nn.Linear(width, config.channels)

    def tokens(self, features: Tensor, *, first: int = 0) -> Tensor:
        """Encode speech features [G, L, A] -> tokens [G, L, d]; `first` as in `condition`.

        Raises: ValueError: when the features have another width or the clip is too long.
        """
        rows, channels = features.shape[1:]
        if channels != self.config.audio_channels:
            raise ValueError(
                f"features must be [G, L, {self.config.audio_channels}], got {list(features.shape)}"
            )
        if rows > self.config.longest_rows:
            raise ValueError(
                f"the clip has {rows} rows of speech features; this network takes at most "
                f"{self.config.longest_rows}"
            )
        x = self.audio_in(with_neighbours(features, self.config.audio_context))
        freqs_cis = rotary_frequencies(rows, self.config.width, device=x.device, first=first)
        for layer in self.encoder:
            x = layer(x, freqs_cis)
        return x

    def condition(
        self,
        tokens: Tensor,  # [G, L, d]
        frames: int,
        *,
        keep: Tensor | None = None,  # [G] bool: False drops the condition of that row
        first: int = 0,
    ) -> Condition:
        """Condition for `frames` frames of motion.

        first: position of the first frame and row. Training uses values other than 0 to place
        short windows anywhere in the longest clip, and so do windows of long clips.
        """
        hidden = self.pooled(tokens)
        if keep is not None:
            tokens = torch.where(keep[:, None, None], tokens, self._null(tokens.shape[1]))
            hidden = torch.where(keep[:, None], hidden, self.null_hidden)
        return self._condition(tokens, hidden, frames, first)

    def guided_condition(self, tokens: Tensor, frames: int, *, first: int = 0) -> Condition:
        """Condition for guidance: G rows with the tokens [G, L, d], then G rows without."""
        clips, rows, _ = tokens.shape
        both = torch.cat([tokens, self._null(rows).expand(clips, -1, -1)])
        hidden = torch.cat([self.pooled(tokens), self.null_hidden.expand(clips, -1)])
        return self._condition(both, hidden, frames, first)

    def forward(
        self,
        x: Tensor,  # [B, T, C]
        t: Tensor,  # [G] timesteps of the full process
        condition: Condition,
    ) -> Tensor:
        """Predict the clean motion, [B, T, C]."""
        embedded = functional.mish(self.time_in(time_embedding(t, self.config.width)))
        takes = len(x) // len(condition.hidden)
        cond = (self.time_hidden(embedded) + condition.hidden).repeat_interleave(takes, 0)
        memories = self._memories(embedded, condition)
        h = self.motion_in(x)  # [B, T, C] -> [B, T, d]
        for layer, memory in zip(self.layers, memories, strict=True):
            h = layer(h, condition.frame_freqs, cond, memory, mask=condition.frame_mask)
        return self.motion_out(h)

    def _null(self, rows: int) -> Tensor:
        return self.null_tokens[:, :rows]  # [1, L, d]

    def _condition(self, tokens: Tensor, hidden: Tensor, frames: int, first: int = 0) -> Condition:
        rows, width = tokens.shape[1:]
        freqs_cis = rotary_frequencies(rows + TIME_TOKENS, width, device=tokens.device, first=first)
        plain = self.memory_norm(tokens)  # row by row: the time tokens can be added later
        rotated = rotate(plain, freqs_cis[:rows])
        memories = tuple(
            (layer.memory_attentions[0].keys_values(rotated, plain).pad(TIME_TOKENS),)
            for layer in self.layers
        )
        frame_freqs = rotary_frequencies(frames, width, device=tokens.device, first=first)
        return Condition(hidden, memories, frame_freqs, freqs_cis[rows:], first=first)

    def _memories(self, embedded: Tensor, condition: Condition) -> list[tuple[KeysValues, ...]]:
        """Memories of each layer with the time tokens after the speech rows: embedded [G, 4 d]."""
        tokens = self.time_tokens(embedded).unflatten(-1, (TIME_TOKENS, -1))  # [G, 2, d]
        plain = self.memory_norm(tokens)
        rotated = rotate(plain, condition.time_freqs)
        result = []
        for layer, (speech, *others) in zip(self.layers, condition.memories, strict=True):
            time = layer.memory_attentions[0].keys_values(rotated, plain)
            rows = speech.keys.shape[2] - TIME_TOKENS
            if torch.is_grad_enabled():  # autograd still needs the old values
                result.append((speech.prefix(rows).concat(time), *others))
            else:
                speech.write(rows, time)
                result.append((speech, *others))
        return result


class BodyDenoiser(Denoiser):
    """Denoiser with key poses as a second memory and causal convolutions over its output."""

    memories = 2

    def __init__(self, config: DenoiserConfig, *, tail_dropout: float = 0.0) -> None:
        """Build the network.

        tail_dropout: TAIL_DROPOUT in training. It is an argument because the reference fixes it
        when the network is built, independent of `train()` and `eval()`.
        """
        if config.longest_keys < 1:
            raise ValueError(f"longest_keys must be at least 1, got {config.longest_keys}")
        super().__init__(config)
        width, channels = config.width, config.channels
        self.key_in = nn.Linear(channels, width)
        self.key_norm = nn.LayerNorm(width)
        self.null_keys = nn.Parameter(torch.randn(1, config.longest_keys, width))
        widths = [channels, config.tail_hidden] + [channels] * (len(TAIL_DILATIONS) - 1)
        self.tail = stack(
            nn.Conv1d(before, after, 3, dilation=dilation)
            for before, after, dilation in zip(widths, widths[1:], TAIL_DILATIONS, strict=False)
        )
        self.tail_out = nn.Conv1d(channels, channels, 1)
        self.tail_dropout = tail_dropout

    def key_tokens(self, keys: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode normalised key poses [B, K, C], keep [B] -> tokens [B, K, d].

        Raises: ValueError: when there are more key poses than the network takes.
        """
        count = keys.shape[1]
        if count > self.config.longest_keys:
            raise ValueError(
                f"the clip has {count} key poses; this network takes at most "
                f"{self.config.longest_keys}"
            )
        tokens = self.key_norm(self.key_in(keys))
        if keep is not None:
            tokens = torch.where(keep[:, None, None], tokens, self.null_keys[:, :count])
        return tokens

    def guided_key_tokens(self, keys: Tensor) -> Tensor:
        """Tokens for guidance: B rows with the key poses [B, K, C], then B without: [2 B, K, d]."""
        null = self.null_keys[:, : keys.shape[1]].expand(len(keys), -1, -1)
        return torch.cat([self.key_tokens(keys), null])

    def with_keys(self, condition: Condition, tokens: Tensor, *, first: int = 0) -> Condition:
        """Add key-pose tokens [B, K, d] to a condition; `first` is the position of the first."""
        freqs_cis = rotary_frequencies(
            tokens.shape[1], tokens.shape[2], device=tokens.device, first=first
        )
        rotated = rotate(tokens, freqs_cis)
        memories = tuple(
            (speech, layer.memory_attentions[1].keys_values(rotated, tokens))
            for layer, (speech, *_) in zip(self.layers, condition.memories, strict=True)
        )
        return replace(condition, memories=memories)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the clean pose from x [B, T, C], t [G] and a condition with key poses."""
        h = super().forward(x, t, condition).transpose(1, 2)  # [B, C, T]
        h = functional.pad(h, (2 * sum(TAIL_DILATIONS), 0))  # causal padding
        for convolution in self.tail:
            y = functional.leaky_relu(convolution(h), TAIL_SLOPE)
            y = functional.dropout(y, self.tail_dropout, training=self.tail_dropout > 0)
            h = (h[..., -y.shape[-1] :] + y) / 2 if h.shape[1] == y.shape[1] else y
        return self.tail_out(h).transpose(1, 2)


def with_neighbours(features: Tensor, count: int) -> Tensor:
    """Join each row with `count` rows on each side, zero-padded: [G, L, A] -> [G, L, n A]."""
    if count == 0:
        return features
    rows = functional.pad(features, (0, 0, count, count)).unfold(1, 2 * count + 1, 1)
    return rows.flatten(2)  # [G, L, A, n] -> [G, L, A n]


@dataclass(frozen=True)
class Student(Generic[Network]):
    """A denoiser for few calls without guidance, distilled from one with guidance."""

    network: Network
    steps: int  # calls that it was made for
    guidance: float  # scale of the guidance that is folded in


def load_face(path: Path, *, device: torch.device) -> Denoiser:
    """Load face.safetensors.

    Raises: CheckpointError: when the file is missing, damaged or holds another network.
    """
    config, weights = checkpoint.read(path, device=device)
    return _restored(Denoiser, config, weights, path).to(device)


def load_body(path: Path, *, device: torch.device) -> BodyDenoiser:
    """Load body.safetensors.

    Raises: CheckpointError: when the file is missing, damaged or holds another network.
    """
    config, weights = checkpoint.read(path, device=device)
    return _restored(BodyDenoiser, config, weights, path).to(device)


def load_student(
    path: Path, make: Callable[[DenoiserConfig], Network], *, device: torch.device
) -> Student[Network]:
    """Load a student's file; make: the class of its network.

    Raises: CheckpointError: when the file is missing, damaged or holds another network.
    """
    facts, weights = checkpoint.read(path, device=device)
    steps, guidance = student_facts(facts, path)
    network = _restored(make, facts["network"], weights, path).to(device)
    return Student(network, steps, guidance)


def student_facts(facts: Mapping[str, Any], path: Path) -> tuple[int, float]:
    """Return steps and guidance of a student from the config of its file.

    Raises: CheckpointError: when the file holds another network.
    """
    try:
        return int(facts["steps"]), float(facts["guidance"])
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path}: not a student: {error!r}") from error


def _restored(
    make: Callable[[DenoiserConfig], Network],
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    path: Path,
) -> Network:
    sizes = checkpoint.config_of(DenoiserConfig, config, path)
    try:
        network = make(sizes)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{path}: not a body denoiser: {error}") from error
    return checkpoint.restore(network, weights, path)
