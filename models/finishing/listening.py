"""A body that listens: hands come to rest, and the head keeps its nods for their cues.

The guide draws gestures for a listener now and then, and the body nods at any time: both are
averages over moments that the networks cannot tell apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.finishing.stages import RATE, Step, gaussian, kernel_radius, low_pass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.finishing.stages import Frames

EASE_SECONDS = 0.18
SLOW_SECONDS = 0.2  # low-pass of the head; what is faster is a nod
PITCH = ("head_rx", "neck_rx")


class Listening(Step):
    """Move arms to their rest, and calm the head's pitch, where the person is silent."""

    def __init__(
        self,
        parameters: Sequence[str],
        *,
        rest: Mapping[str, float],  # pose parameter -> angle
        hold: float,  # seconds before and after speech in which she moves as sampled
        arms: float,  # share of the arms' movement that is left
        nods: float,  # share of the head's quick movement that is left
    ) -> None:
        self._arms = [parameters.index(name) for name in rest]
        self._rest = torch.tensor(list(rest.values()))
        self._pitch = [parameters.index(name) for name in PITCH]
        self._hold, self._left, self._nods = round(hold * RATE), arms, nods
        self._ease, self._slow = gaussian(EASE_SECONDS), gaussian(SLOW_SECONDS)
        self.radius = kernel_radius(SLOW_SECONDS)
        self.hears = self._hold + kernel_radius(EASE_SECONDS)

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Calm the frames without own speech."""
        own = frames.voices[:, 0][None, None]
        near = functional.max_pool1d(own, 2 * self._hold + 1, 1, self._hold)[0, 0]
        speaks = low_pass(near[:, None], self._ease)[: len(frames)]
        pose = frames.pose.clone()
        share = self._left + (1 - self._left) * speaks
        pose[:, self._arms] = self._rest + share * (frames.pose[:, self._arms] - self._rest)
        pitch = frames.pose[:, self._pitch]
        slow = low_pass(pitch, self._slow)
        share = self._nods + (1 - self._nods) * speaks
        pose[:, self._pitch] = slow + share * (pitch - slow)
        return replace(frames, pose=pose)
