"""Clips of several lengths in one batch: padded at the end, and masked in every attention.

The rows of a batch are the takes of the first clip, then those of the next. Everything that is
computed once for a clip is computed for it alone, so a mean over its rows contains no padding.
Position codes are those of each clip. The convolutions over the body's output are causal, and so
padding at the end does not reach the frames before it.

Letters as in `models.motion.denoiser`; M clips, N takes of a clip, B the rows of all clips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.motion.denoiser import TIME_TOKENS, Condition
from models.motion.layers import KeysValues

if TYPE_CHECKING:
    from collections.abc import Sequence


MASKED = -torch.inf


def joined_conditions(
    conditions: Sequence[Condition], takes: Sequence[int], halves: int
) -> Condition:
    """Return the condition of a batch from those of its M clips.

    takes: N of each clip. halves: 2 for conditions of `guided_condition`, which have the rows with
    the condition and then those without it; else 1.
    """
    layers = zip(*(condition.memories for condition in conditions), strict=True)
    memories = []
    for layer in layers:
        speech, *others = zip(*layer, strict=True)
        kept = (_joined(parts, takes, halves, tail=0) for parts in others)
        memories.append((_joined(speech, takes, halves, tail=TIME_TOKENS), *kept))
    frames = [len(condition.frame_freqs) for condition in conditions]
    rows = [
        _rows(condition.hidden, n, halves) for condition, n in zip(conditions, takes, strict=True)
    ]
    return Condition(
        _batch(rows),
        tuple(memories),
        _frame_freqs(conditions, takes, halves),
        _time_freqs(conditions, takes, halves),
        _mask(frames, takes, halves, tail=0, like=conditions[0].hidden),
    )


def padded(parts: Sequence[Tensor]) -> Tensor:
    """Join parts [N, T, C] of several lengths, with zeros after the end: [B, longest T, C]."""
    longest = max(part.shape[1] for part in parts)
    result = parts[0].new_zeros(sum(map(len, parts)), longest, parts[0].shape[2])
    for rows, part in zip(
        result.split_with_sizes([len(part) for part in parts]), parts, strict=True
    ):
        rows[:, : part.shape[1]] = part
    return result


def unpadded(batch: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    """Split a batch [B, longest T, C] into tensors with the shapes of its parts."""
    rows = batch.split_with_sizes([len(part) for part in parts])
    return [own[:, : part.shape[1]] for own, part in zip(rows, parts, strict=True)]


def _joined(
    parts: Sequence[KeysValues], takes: Sequence[int], halves: int, *, tail: int
) -> KeysValues:
    """Join memories of several lengths; the last `tail` rows, written later, stay the last."""
    lengths = [part.keys.shape[2] - tail for part in parts]
    longest = max(lengths) + tail
    _, heads, _, width = parts[0].keys.shape
    like = parts[0].keys
    joined = [like.new_zeros(halves * sum(takes), heads, longest, width) for _ in range(2)]
    for result, each in zip(
        joined, ([p.keys for p in parts], [p.values for p in parts]), strict=True
    ):
        rows = result.split_with_sizes(list(takes) * halves)
        for place, own in enumerate(rows):
            half, clip = divmod(place, len(parts))
            source = each[clip].chunk(halves)[half]  # [1 or N, H, S, e]
            own[:, :, : lengths[clip]] = source[:, :, : lengths[clip]]
    keys, values = joined
    return KeysValues(keys, values, _mask(lengths, takes, halves, tail=tail, like=like))


def _mask(
    lengths: Sequence[int], takes: Sequence[int], halves: int, *, tail: int, like: Tensor
) -> Tensor | None:
    """Return the mask [B, 1, 1, S] of rows of several lengths; None if they are equal."""
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    mask = like.new_zeros(sum(takes), 1, 1, longest + tail)
    for rows, length in zip(mask.split_with_sizes(list(takes)), lengths, strict=True):
        rows[..., length:longest] = MASKED
    return mask.repeat(halves, 1, 1, 1)


def _frame_freqs(conditions: Sequence[Condition], takes: Sequence[int], halves: int) -> Tensor:
    """Rotations of the frames of each clip."""
    longest = max((condition.frame_freqs for condition in conditions), key=len)
    if len({condition.first for condition in conditions}) == 1:
        return longest
    each = padded([condition.frame_freqs[None] for condition in conditions])  # [M, T, d / 2]
    rows = [freqs.expand(count, -1, -1) for freqs, count in zip(each, takes, strict=True)]
    return torch.cat(rows * halves)  # [B, T, d / 2]


def _time_freqs(conditions: Sequence[Condition], takes: Sequence[int], halves: int) -> Tensor:
    """Rotations of the time tokens, which come after the speech rows of each clip."""
    ends = {condition.first + condition.memories[0][0].keys.shape[2] for condition in conditions}
    if len(ends) == 1:
        return conditions[0].time_freqs
    rows = [
        condition.time_freqs.expand(count, -1, -1)
        for condition, count in zip(conditions, takes, strict=True)
    ]
    return torch.cat(rows * halves)  # [B, 2, d / 2]


def _rows(values: Tensor, takes: int, halves: int) -> list[Tensor]:
    """Repeat each half of the values [halves, d] for every take."""
    return [half.expand(takes, -1) for half in values.chunk(halves)]


def _batch(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Join the first halves of all clips, then the second ones."""
    return torch.cat([half for halves in zip(*rows, strict=True) for half in halves])
