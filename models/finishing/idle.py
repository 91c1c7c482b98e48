"""Movement that no sound causes: breath, sway, and life in hands that hold still.

The networks cannot learn it from sound and give its mean with tremble, so it is generated: sums of
slow sines whose phases come from the seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from models.finishing.stages import RATE, Step, with_pose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Generator, Tensor

    from models.finishing.stages import Frames

OVERTONES = (1.0, 1.7, 2.6)  # incommensurable


class Idle(Step):
    """Replace some parameters, and add to others."""

    def __init__(
        self,
        parameters: Sequence[str],
        generator: Generator,
        *,
        breath_hz: float,
        sway: Mapping[str, tuple[float, float]],  # amplitude, rate in Hz; replaces the parameter
        life: Mapping[str, tuple[float, float]],  # added to all parameters with this start
    ) -> None:
        self._breath = parameters.index("breath")
        self._breath_hz = breath_hz
        self._replaced = [parameters.index(name) for name in sway]
        added = [
            (index, wave)
            for start, wave in life.items()
            for index, name in enumerate(parameters)
            if name.startswith(start)
        ]
        self._added = [index for index, _ in added]
        waves = [*sway.values(), *(wave for _, wave in added)]
        self._amplitudes = torch.tensor([amplitude for amplitude, _ in waves])
        self._rates = torch.tensor([rate for _, rate in waves])
        phases = torch.rand(1 + len(OVERTONES) * len(waves), generator=generator) * 2 * math.pi
        self._breath_phase = phases[0]
        self._phases = phases[1:].view(len(OVERTONES), -1)

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Generate the movement of these frames."""
        seconds = (torch.arange(first, first + len(frames), dtype=torch.float64) / RATE)[:, None]
        waves = slow_waves(seconds, self._amplitudes, self._rates, self._phases)
        pose = frames.pose.clone()
        count = len(self._replaced)
        pose[:, self._replaced] = waves[:, :count]
        pose[:, self._added] += waves[:, count:]
        breath = torch.sin(2 * math.pi * self._breath_hz * seconds[:, 0] + self._breath_phase)
        pose[:, self._breath] = breath.float()
        return with_pose(frames, pose)


def slow_waves(seconds: Tensor, amplitudes: Tensor, rates: Tensor, phases: Tensor) -> Tensor:
    """Sums of slow sines at times [T, 1], [T, C]: amplitudes and rates in Hz [C], phases [3, C]."""
    total = torch.zeros(len(seconds), len(amplitudes), dtype=torch.float64)
    for overtone, of_overtone in zip(OVERTONES, phases, strict=True):
        angle = 2 * math.pi * overtone * rates * seconds + of_overtone
        total += amplitudes * torch.sin(angle) / (2 * overtone)
    return total.float()
