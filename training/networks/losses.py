"""Training objectives, as functions of tensors. Golden cases test each of them.

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
    """Losses of each sample, [B]."""

    position: Tensor
    velocity: Tensor


def motion_loss(
    predicted: Tensor,  # [B, T, C]
    clean: Tensor,  # [B, T, C]
    inside: Tensor,  # [B, T] bool, False in the padding of a short sample
    present: Tensor,  # [B, T], 0 where the face is not visible
) -> MotionLoss:
    """Mean squared errors over frames inside and present; velocity ignores `present`."""
    channels = predicted.shape[2]
    visible = inside * present
    position = ((predicted - clean).square() * visible[..., None]).sum((1, 2))
    moves = predicted.diff(dim=1) - clean.diff(dim=1)
    between = inside[:, 1:].to(predicted.dtype)
    velocity = (moves.square() * between[..., None]).sum((1, 2))
    return MotionLoss(
        position / (visible.sum(1) * channels),
        velocity / (between.sum(1) * channels),
    )


def length_mask(lengths: Tensor, frames: int) -> Tensor:
    """Lengths [B] -> [B, T] bool, True inside."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with label smoothing: logits [..., N], targets [...] -> []."""
    return functional.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), label_smoothing=LABEL_SMOOTHING
    )


@dataclass(frozen=True)
class TokenizerLoss:
    """Loss terms of the tokenizer, each []."""

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
    """Smooth L1 loss of poses and of their differences over time, plus the commitment loss.

    channel_weights: weight of each channel's error; None weights all equally.
    over_channels: take differences along the channels, a mistake of the reference.
    """
    axis = 2 if over_channels else 1
    if channel_weights is not None:
        predicted, poses = predicted * channel_weights, poses * channel_weights
    motion = functional.smooth_l1_loss(predicted, poses)
    velocity = functional.smooth_l1_loss(predicted.diff(dim=axis), poses.diff(dim=axis))
    total = motion + COMMITMENT * commitment + velocity_weight * velocity
    return TokenizerLoss(motion, velocity, total)


def sample_keep_mask(count: int, drop: float, generator: Generator) -> Tensor:
    """Sample the mask of kept conditions: [count] bool, False with probability `drop`."""
    return torch.rand(count, generator=generator) >= drop
