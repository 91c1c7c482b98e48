"""Hands between two gestures: partial retraction towards rest, and slow movement in a hold.

The guide gives a key pose until the next one, and the body network holds it without a trace of
movement. People let the hands sink a little, and lift them again with the next stroke.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch
from torch.nn import functional

from models.finishing.idle import OVERTONES, slow_waves
from models.finishing.stages import RATE, Step, gaussian, kernel_radius, low_pass, with_pose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Generator, Tensor

    from models.finishing.stages import Frames

Value = TypeVar("Value")

EASE_SECONDS = 0.13  # of the way into a hold and out of it
SHORTEST = 5  # frames; holds of at most twice as many keep their pose
JOINTS = ("shoulder", "elbow", "forearm", "wrist")  # by whose speed an arm holds still


class Holds(Step):
    """Move arms that hold still away from their rest. Arms at rest keep their pose."""

    def __init__(
        self,
        parameters: Sequence[str],
        generator: Generator,
        *,
        rest: Mapping[str, float],  # pose parameter -> angle
        still: tuple[float, float],  # rad/s; an arm holds below the first, moves above the second
        raised: float,  # rad; distance from rest at which arms have 40 % of this movement
        retract: Mapping[str, float],  # start of names -> share of the way to rest
        life: Mapping[str, tuple[float, float]],  # start of names -> amplitude in rad, rate in Hz
    ) -> None:
        self._slow, self._fast = still
        if not 0 <= self._slow < self._fast:
            raise ValueError(f"still: two rising speeds, got {still}")
        self._raised = raised
        sides = [[name for name in rest if side in name] for side in ("_L_", "_R_")]
        self._arms = [_Arm(names, parameters, rest, retract, life, generator) for names in sides]
        self._ease = gaussian(EASE_SECONDS)
        self.radius = 1 + SHORTEST + kernel_radius(EASE_SECONDS)

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Move the arms of these frames."""
        pose = frames.pose.clone()
        seconds = torch.arange(first, first + len(frames), dtype=torch.float64)[:, None] / RATE
        for arm in self._arms:
            angles = frames.pose[:, arm.columns]
            away = angles - arm.rest
            share = self._held(angles[:, arm.judged]) * self._raised_share(away[:, arm.judged])
            pose[:, arm.columns] = angles + share * (arm.life(seconds) - arm.retract * away)
        return with_pose(frames, pose)

    def _held(self, angles: Tensor) -> Tensor:
        """Share of a hold, [T, 1]: 1 in the middle of a long one."""
        ahead = torch.cat([angles[1:], angles[-1:]])
        behind = torch.cat([angles[:1], angles[:-1]])
        speed = (ahead - behind).norm(dim=1) * (RATE / 2)
        still = ((self._fast - speed) / (self._fast - self._slow)).clamp(0, 1)
        shortest = -functional.max_pool1d(-still[None, None], 2 * SHORTEST + 1, 1, SHORTEST)[0, 0]
        return low_pass(shortest[:, None], self._ease)

    def _raised_share(self, away: Tensor) -> Tensor:
        distance = away.norm(dim=1, keepdim=True) / self._raised
        return 1 - torch.exp(-0.5 * distance**2)


class _Arm:
    """Columns of one arm with its rest, retraction and slow movement."""

    def __init__(
        self,
        names: Sequence[str],
        parameters: Sequence[str],
        rest: Mapping[str, float],
        retract: Mapping[str, float],
        life: Mapping[str, tuple[float, float]],
        generator: Generator,
    ) -> None:
        self.columns = [parameters.index(name) for name in names]
        self.judged = [index for index, name in enumerate(names) if name.startswith(JOINTS)]
        self.rest = torch.tensor([rest[name] for name in names])
        self.retract = torch.tensor([_of(name, retract, 0.0) for name in names])
        waves = [_of(name, life, (0.0, 1.0)) for name in names]
        self._amplitudes = torch.tensor([amplitude for amplitude, _ in waves])
        self._rates = torch.tensor([rate for _, rate in waves])
        phases = torch.rand(len(OVERTONES) * len(waves), generator=generator)
        self._phases = 2 * math.pi * phases.view(len(OVERTONES), -1)

    def life(self, seconds: Tensor) -> Tensor:
        """Slow movement at times [T, 1], [T, C]."""
        return slow_waves(seconds, self._amplitudes, self._rates, self._phases)


def _of(name: str, values: Mapping[str, Value], default: Value) -> Value:
    return next((value for start, value in values.items() if name.startswith(start)), default)
