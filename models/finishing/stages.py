"""Streaming of finishing steps: each step sees some frames before and after those that it changes.

Letters: T frames (30/s), V frames of voices, U face units, P pose parameters. Steps are pure
functions of the motion, the voices and a seed, and their result does not depend on how the frames
are cut. Audio is known before its motion, so only the motion that a step looks ahead for is waited
for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

RATE = 30  # frames a second


@dataclass(frozen=True)
class Frames:
    """Motion of one take over some frames."""

    units: Tensor  # [T, U]
    pose: Tensor  # [T, P]
    voices: Tensor  # [V, 2] 1 where the person and the partner speak; V - T frames after these
    lips: Tensor  # [T, L] of the lip regressor; L is 0 without one

    def __len__(self) -> int:
        return len(self.pose)

    def cut(self, start: int, stop: int | None = None) -> Frames:
        """Return the frames [start, stop), with all voices after them that are known."""
        part = slice(start, stop)
        return Frames(self.units[part], self.pose[part], self.voices[start:], self.lips[part])

    def then(self, more: Frames) -> Frames:
        """Return these frames and more after them."""
        return Frames(
            torch.cat([self.units, more.units]),
            torch.cat([self.pose, more.pose]),
            torch.cat([self.voices[: len(self)], more.voices]),
            torch.cat([self.lips, more.lips]),
        )


class Step(Protocol):
    """One finishing step of one take."""

    radius: int = 0  # frames before and after a frame on whose motion its result depends
    hears: int = 0  # the same for voices

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Change frames, of which `first` is the number in the clip of the first one.

        last: they end with the clip. At each side that does not end the clip, results of `radius`
        frames, and those less than `hears` from the end of the voices, are not used.
        """
        ...


class Stage:
    """Steps over frames that arrive in blocks; its output is late by their largest radius.

    What a step with a radius or with `hears` changes, later steps of the stage read in the same
    frame only; a step that reads it in other frames, too, is in a later stage.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._radius = max(step.radius for step in steps)
        self.hears = max(step.hears for step in steps)
        self._kept: Frames | None = None
        self._first = 0  # number of the first frame that is kept
        self._given = 0  # frames returned so far

    def push(self, block: Frames, *, last: bool) -> Frames:
        """Take the next frames and return those that are ready; all of them after the last."""
        frames = block if self._kept is None else self._kept.then(block)
        stop = self._first + len(frames)
        heard = self._first + len(frames.voices)
        ready = min(stop - self._radius, heard - self.hears)
        ready = stop if last else max(self._given, ready)
        result = frames
        if ready > self._given:
            for step in self._steps:
                result = step.apply(result, self._first, last=last)
        result = result.cut(self._given - self._first, ready - self._first)
        start = max(self._first, ready - max(self._radius, self.hears))
        self._kept, self._first = frames.cut(start - self._first), start
        self._given = ready
        return result


class Chain:
    """Several stages in a row, each of some steps."""

    def __init__(self, stages: Sequence[Sequence[Step]]) -> None:
        self._stages = [Stage(steps) for steps in stages if steps]

    @property
    def hears(self) -> int:
        """Frames of voices after a block without which its output is later than its motion."""
        return max((stage.hears for stage in self._stages), default=0)

    def push(self, block: Frames, *, last: bool) -> Frames:
        """Take the next frames and return those that are ready."""
        for stage in self._stages:
            block = stage.push(block, last=last)
        return block


def gaussian(seconds: float) -> Tensor:
    """Weights of a Gaussian low-pass, [2 R + 1], their sum is 1."""
    spread = seconds * RATE
    reach = torch.arange(-kernel_radius(seconds), kernel_radius(seconds) + 1)
    weights = torch.exp(-0.5 * (reach / max(spread, 1e-6)) ** 2)
    return weights / weights.sum()


def kernel_radius(seconds: float) -> int:
    """Frames on each side of the middle of a Gaussian low-pass."""
    return max(1, round(3.5 * seconds * RATE))


def low_pass(values: Tensor, weights: Tensor) -> Tensor:
    """Filter columns [T, C] with symmetric weights [2 R + 1]; end values continue outside."""
    radius = len(weights) // 2
    columns = values.T[:, None]  # [C, 1, T]
    ends = [columns[..., :1].expand(-1, -1, radius), columns[..., -1:].expand(-1, -1, radius)]
    padded = torch.cat([ends[0], columns, ends[1]], dim=-1)
    return functional.conv1d(padded, weights[None, None])[:, 0].T


def with_pose(frames: Frames, pose: Tensor) -> Frames:
    """Return the frames with another pose."""
    return replace(frames, pose=pose)
