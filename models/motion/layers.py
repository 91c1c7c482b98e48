"""Layers of the motion networks: rotary positions, attention, FiLM, encoder and decoder layers.

Letters: B rows of a batch, G rows of a condition (B is G times the takes that share it), T and S
rows of a sequence, d width, H heads, e = d / H.
Values that do not change inside a loop are computed once and passed in: keys and values of a
condition, rotary frequencies of its positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DROPOUT = 0.1
Layer = TypeVar("Layer", bound=nn.Module)


def stack(layers: Iterable[Layer]) -> list[Layer]:
    """Return a ModuleList, typed as the list of its layers."""
    return cast("list[Layer]", nn.ModuleList(layers))


def rotary_frequencies(rows: int, width: int, *, device: torch.device, first: int = 0) -> Tensor:
    """Rotations of the pairs (2i, 2i+1) at positions first, ...: [rows, width / 2] complex.

    RoPE (arXiv 2104.09864) with one table over the full width instead of one per head; applied
    before the projections to q and k.
    """
    pair = torch.arange(0, width, 2, device=device).float() / width
    angles = torch.arange(first, first + rows, device=device).float()[:, None] * (1 / 10000**pair)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, freqs_cis: Tensor) -> Tensor:
    """Rotate x [..., T, d] by freqs_cis [T, d / 2]."""
    pairs = torch.view_as_complex(torch.unflatten(x.float(), -1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * freqs_cis).flatten(-2).to(x.dtype)


def time_embedding(t: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of integer timesteps: t [B] -> [B, width]."""
    half = width // 2
    scale = math.log(10000) / (half - 1)
    angles = t.float()[:, None] * torch.exp(-scale * torch.arange(half, device=t.device))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of one attention layer."""

    keys: Tensor  # [G, H, S, e]
    values: Tensor  # [G, H, S, e]
    mask: Tensor | None = None  # [G, 1, 1, S], added to the scores: 0, -inf for rows of padding

    def pad(self, rows: int) -> KeysValues:
        """Append `rows` zero rows, to be filled by `write`."""
        padded = (functional.pad(part, (0, 0, 0, rows)) for part in (self.keys, self.values))
        return KeysValues(*padded)

    def write(self, start: int, other: KeysValues) -> None:
        """Overwrite the rows from `start` on with the rows of `other`, in place."""
        stop = start + other.keys.shape[2]
        self.keys[:, :, start:stop] = other.keys
        self.values[:, :, start:stop] = other.values

    def prefix(self, rows: int) -> KeysValues:
        """Return the first `rows` rows as a view."""
        return KeysValues(self.keys[:, :, :rows], self.values[:, :, :rows])

    def first_half(self) -> KeysValues:
        """Return the first half of the G rows as a view."""
        half = len(self.keys) // 2
        mask = None if self.mask is None else self.mask[:half]
        return KeysValues(self.keys[:half], self.values[:half], mask)

    def concat(self, other: KeysValues) -> KeysValues:
        """Concatenate the rows of both."""
        return KeysValues(
            torch.cat([self.keys, other.keys], dim=2), torch.cat([self.values, other.values], dim=2)
        )


class Attention(nn.Module):
    """Multi-head attention with packed projections, split into three steps for caching."""

    def __init__(self, width: int, heads: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_weight = nn.Parameter(torch.empty(3 * width, width))  # q, k, v
        self.in_bias = nn.Parameter(torch.zeros(3 * width))
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_weight)
        nn.init.zeros_(self.out.bias)

    def queries(self, rotated: Tensor) -> Tensor:
        """Project rotated rows to queries: [B, T, d] -> [B, T, d]."""
        width = self.in_weight.shape[1]
        return functional.linear(rotated, self.in_weight[:width], self.in_bias[:width])

    def keys_values(self, rotated: Tensor, plain: Tensor) -> KeysValues:
        """Keys of the rotated rows and values of the plain rows, both [G, S, d]."""
        width = self.in_weight.shape[1]
        keys = functional.linear(
            rotated, self.in_weight[width : 2 * width], self.in_bias[width : 2 * width]
        )
        values = functional.linear(plain, self.in_weight[2 * width :], self.in_bias[2 * width :])
        return KeysValues(self._split(keys), self._split(values))

    def attend(self, queries: Tensor, memory: KeysValues, *, causal: bool = False) -> Tensor:
        """Attend from queries [B, T, d] to a memory of G rows -> [B, T, d].

        If B is a multiple of G, neighbours in the batch share a memory row. Their queries are
        concatenated along time, so the memory is neither copied nor read twice.
        """
        batch, rows, width = queries.shape
        groups = len(memory.keys)
        q = self._split(queries.reshape(groups, -1, width))  # [G, H, B / G * T, e]
        mixed = functional.scaled_dot_product_attention(
            q,
            memory.keys,
            memory.values,
            attn_mask=memory.mask,
            is_causal=causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).reshape(batch, rows, width))

    def _split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)  # [B, T, d] -> [B, H, T, e]


class Film(nn.Module):
    """Feature-wise linear modulation by a vector: (scale + 1) y + shift (arXiv 1709.07871)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)

    def forward(self, y: Tensor, cond: Tensor) -> Tensor:
        """Modulate y [B, T, d] by cond [B, d] -> [B, T, d]."""
        scale, shift = self.linear(functional.mish(cond))[:, None].chunk(2, dim=-1)
        return (scale + 1) * y + shift


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward over the rows of a condition."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads, dropout)
        self.ff_norm = nn.LayerNorm(width)
        self.ff_in = nn.Linear(width, hidden)
        self.ff_out = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, freqs_cis: Tensor) -> Tensor:
        """Encode x [G, S, d] -> [G, S, d]."""
        plain = self.self_norm(x)
        rotated = rotate(plain, freqs_cis)
        attention = self.self_attention
        memory = attention.keys_values(rotated, plain)
        x = x + self.dropout(attention.attend(attention.queries(rotated), memory))
        hidden = self.dropout(functional.gelu(self.ff_in(self.ff_norm(x))))
        return x + self.dropout(self.ff_out(hidden))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention to each memory and feed-forward, each followed by FiLM."""

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: float = DROPOUT, *, memories: int = 1
    ) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads, dropout)
        self.self_film = Film(width)
        self.memory_norms = stack(nn.LayerNorm(width) for _ in range(memories))
        self.memory_attentions = stack(Attention(width, heads, dropout) for _ in range(memories))
        self.memory_films = stack(Film(width) for _ in range(memories))
        self.ff_norm = nn.LayerNorm(width)
        self.ff_in = nn.Linear(width, hidden)
        self.ff_out = nn.Linear(hidden, width)
        self.ff_film = Film(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,  # [B, T, d]
        freqs_cis: Tensor,  # [T, d / 2] complex
        cond: Tensor,  # [B, d]
        memories: Sequence[KeysValues],
        *,
        causal: bool = False,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Decode x [B, T, d] -> [B, T, d]; mask of its rows as in `KeysValues`."""
        plain = self.self_norm(x)
        rotated = rotate(plain, freqs_cis)
        own = self.self_attention.keys_values(rotated, plain)
        if mask is not None:
            own = replace(own, mask=mask)
        return self.with_memory(x, rotated, own, freqs_cis, cond, memories, causal=causal)

    def step(
        self,
        x: Tensor,  # [B, 1, d] the row at `position`
        freqs_cis: Tensor,  # [1, d / 2] of that position
        cond: Tensor,
        memories: Sequence[KeysValues],
        *,
        past: KeysValues,  # [B, H, longest sequence, e], filled up to `position`
        position: int,
    ) -> Tensor:
        """One row of the causal `forward`; its keys and values are written to `past`."""
        plain = self.self_norm(x)
        rotated = rotate(plain, freqs_cis)
        past.write(position, self.self_attention.keys_values(rotated, plain))
        return self.with_memory(x, rotated, past.prefix(position + 1), freqs_cis, cond, memories)

    def with_memory(
        self,
        x: Tensor,
        rotated: Tensor,
        own: KeysValues,
        freqs_cis: Tensor,
        cond: Tensor,
        memories: Sequence[KeysValues],
        *,
        causal: bool = False,
    ) -> Tensor:
        """Compute the layer from the keys and values of its self-attention."""
        attention = self.self_attention
        mixed = attention.attend(attention.queries(rotated), own, causal=causal)
        x = x + self.self_film(self.dropout(mixed), cond)
        parts = zip(
            self.memory_norms, self.memory_attentions, self.memory_films, memories, strict=True
        )
        for norm, attention, film, memory in parts:
            queries = attention.queries(rotate(norm(x), freqs_cis))
            x = x + film(self.dropout(attention.attend(queries, memory)), cond)
        hidden = self.dropout(functional.gelu(self.ff_in(self.ff_norm(x))))
        return x + self.ff_film(self.dropout(self.ff_out(hidden)), cond)


class Pooled(nn.Module):
    """Pooling of a clip to one vector: LayerNorm, Linear, SiLU, Linear over the mean row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool tokens [G, S, d] -> [G, d]."""
        mean = self.norm(tokens.mean(1))
        return self.outer(functional.silu(self.inner(mean)))
