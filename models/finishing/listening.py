"""A body that listens: hands come to rest, and the head keeps its nods for their cues.

The guide draws gestures for a listener now and then, and the body nods at any time: both are
averages over moments that the networks cannot tell apart. A short word in between, as listeners say
it, moves no hand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.finishing.stages import RATE, Step, gaussian, kernel_radius, low_pass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from models.finishing.stages import Frames

EASE_SECONDS = 0.145  # hands rise and sink about as fast as in the rule of the truth
PAUSE_SECONDS = 0.25  # pauses of less than twice as long belong to speech
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
        shortest: float = 0.0,  # seconds of speech; in less, arms rest
    ) -> None:
        self._arms = [parameters.index(name) for name in rest]
        self._rest = torch.tensor(list(rest.values()))
        self._pitch = [parameters.index(name) for name in PITCH]
        self._left, self._nods = arms, nods
        self._hold, self._pause = round(hold * RATE), round(PAUSE_SECONDS * RATE)
        self._half = round(shortest * RATE / 2)
        self._ease, self._slow = gaussian(EASE_SECONDS), gaussian(SLOW_SECONDS)
        self.radius = kernel_radius(SLOW_SECONDS)
        self.hears = 2 * (self._pause + self._half) + self._hold + kernel_radius(EASE_SECONDS)

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Calm the frames without own speech."""
        own = functional.pad(frames.voices[:, 0], (self.hears, self.hears))  # silence
        joined = _narrowed(_widened(own, self._pause), self._pause)
        long = _widened(_narrowed(joined, self._half), self._half)
        pose = frames.pose.clone()
        share = self._left + (1 - self._left) * self._near(long, len(frames))
        pose[:, self._arms] = self._rest + share * (frames.pose[:, self._arms] - self._rest)
        pitch = frames.pose[:, self._pitch]
        slow = low_pass(pitch, self._slow)
        share = self._nods + (1 - self._nods) * self._near(own, len(frames))
        pose[:, self._pitch] = slow + share * (pitch - slow)
        return replace(frames, pose=pose)

    def _near(self, speech: Tensor, frames: int) -> Tensor:
        """Share of speech at each frame, [T, 1]: 1 in it and around it, eased."""
        eased = low_pass(_widened(speech, self._hold)[:, None], self._ease)
        return eased[self.hears : self.hears + frames]


def _widened(speech: Tensor, radius: int) -> Tensor:
    """Let speech [V] begin and end some frames farther out."""
    return functional.max_pool1d(speech[None, None], 2 * radius + 1, 1, radius)[0, 0]


def _narrowed(speech: Tensor, radius: int) -> Tensor:
    """Let silence begin and end some frames farther out; shorter speech vanishes."""
    return -_widened(-speech, radius)
