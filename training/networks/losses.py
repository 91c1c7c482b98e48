"""What the trainers minimise. Functions of tensors; golden cases hold each of them.

Letters: B samples, T frames, C channels, S tokens, N codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Generator

LABEL_SMOOTHING = 0.1
COMMITMENT = 0.02


@dataclass(frozen=True)
class MotionLoss:
    """Of each sample, [B]."""

    position: Tensor
    velocity: Tensor


def motion_loss(
    predicted: Tensor,  # [B, T, C]
    clean: Tensor,  # [B, T, C]
    inside: Tensor,  # [B, T] bool, False behind the end of a short sample
    present: Tensor,  # [B, T], 0 where the face was not seen
) -> MotionLoss:
    """Mean squares over what is inside and present; the velocity does not ask whether present."""
    channels = predicted.shape[2]
    seen = inside * present
    position = ((predicted - clean).square() * seen[..., None]).sum((1, 2))
    moves = predicted.diff(dim=1) - clean.diff(dim=1)
    between = inside[:, 1:].to(predicted.dtype)
    velocity = (moves.square() * between[..., None]).sum((1, 2))
    return MotionLoss(
        position / (seen.sum(1) * channels),
        velocity / (between.sum(1) * channels),
    )


def length_mask(lengths: Tensor, frames: int) -> Tensor:
    """Lengths [B] -> [B, T] bool, True inside."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with smoothed labels: logits [..., N], targets [...] -> []."""
    return functional.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), label_smoothing=LABEL_SMOOTHING
    )


@dataclass(frozen=True)
class TokenizerLoss:
    """Each []."""

    motion: Tensor
    velocity: Tensor
    total: Tensor


def tokenizer_loss(
    predicted: Tensor,  # [B, K, C]
    poses: Tensor,  # [B, K, C]
    commitment: Tensor,  # []
    *,
    velocity_weight: float = 0.0,
    channel_weights: Tensor | None = None,  # [C]
    over_channels: bool = False,
) -> TokenizerLoss:
    """Smooth L1 of poses and of their differences over time, and the commitment.

    channel_weights: how much each channel's error counts; all the same for None.
    over_channels: take the differences from channel to channel, as the reference does by mistake.
    """
    axis = 2 if over_channels else 1
    if channel_weights is not None:
        predicted, poses = predicted * channel_weights, poses * channel_weights
    motion = functional.smooth_l1_loss(predicted, poses)
    velocity = functional.smooth_l1_loss(predicted.diff(dim=axis), poses.diff(dim=axis))
    total = motion + COMMITMENT * commitment + velocity_weight * velocity
    return TokenizerLoss(motion, velocity, total)


def drawn_keep(count: int, drop: float, generator: Generator) -> Tensor:
    """Which samples keep their condition: [count] bool, each dropped with probability `drop`."""
    return torch.rand(count, generator=generator) >= drop
