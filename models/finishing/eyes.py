"""Gaze and lids: fixations with quick changes, and blinks, at the rates of a person.

Neither follows from sound, so the networks give the mean of all possible movements: a stare with
too few blinks. Here both are renewal processes, drawn from the seed of the take.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from models.finishing.stages import RATE, Step, gaussian, kernel_radius, low_pass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Generator, Tensor

    from models.finishing.stages import Frames

SACCADE_SECONDS = 0.027  # standard deviation of the low-pass of a jump
SPEECH_SECONDS = 0.15  # low-pass of the jaw, by which a fixation knows that she speaks
BLINK_SECONDS = 0.07  # a Gaussian bump's width
COMPENSATION = -0.5  # turn of the eyes for a turn of the head
SPEAKING_JAW = 0.04  # mean weight of the jaw
FOLLOW_SECONDS = 0.2  # low-pass of units that others follow
MOST_LOWERED = 0.3  # weight of lids that follow the eyes


def gamma(shape: int, scale: float, generator: Generator) -> float:
    """Sample a gamma distribution of whole shape: the sum of exponential variables."""
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return float(-scale * torch.log1p(-uniform).sum())


class Gaze(Step):
    """Fixations on the partner and away, oftener away while she speaks."""

    def __init__(
        self,
        parameters: Sequence[str],
        units: Sequence[str],
        generator: Generator,
        *,
        away_speaking: float,  # probabilities of a fixation away
        away_listening: float,
        near: tuple[float, float],  # standard deviations across and down, in rad
        away: tuple[float, float],
        shortest: float,  # seconds; a fixation lasts shortest + gamma(2, scale)
        scale: float,
    ) -> None:
        self._generator = generator
        self._chances = (away_listening, away_speaking)
        self._spreads = torch.tensor([near, away])
        self._shortest, self._scale = shortest, scale
        self._across = [parameters.index(f"eye_{side}_ry") for side in "LR"]
        self._down = [parameters.index(f"eye_{side}_rx") for side in "LR"]
        self._turn = [parameters.index(f"{part}_ry") for part in ("head", "neck")]
        self._nod = [parameters.index(f"{part}_rx") for part in ("head", "neck")]
        self._jaw = units.index("jawOpen")
        self._jump, self._speech = gaussian(SACCADE_SECONDS), gaussian(SPEECH_SECONDS)
        self._speech_radius = kernel_radius(SPEECH_SECONDS)
        self.radius = self._speech_radius + kernel_radius(SACCADE_SECONDS)
        self._fixations: list[tuple[int, Tensor]] = []  # first frame and angles of each fixation
        self._next = 0.0  # seconds at which the next fixation starts

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Turn the eyes."""
        self._extend(frames, first, last=last)
        targets = torch.zeros(len(frames), 2)
        for onset, angles in self._fixations:
            targets[max(0, onset - first) :] = angles
        across, down = low_pass(targets, self._jump).unbind(-1)
        pose = frames.pose.clone()
        turn, nod = (frames.pose[:, each].sum(1) for each in (self._turn, self._nod))
        pose[:, self._across] = (across + COMPENSATION * turn)[:, None]
        pose[:, self._down] = (down + COMPENSATION * nod)[:, None]
        return replace(frames, pose=pose)

    def _extend(self, frames: Frames, first: int, *, last: bool) -> None:
        """Add the fixations that start in these frames; a fixation is drawn only once.

        Without the last frame of the clip, those at the end are left for later: the jaw around
        their start is not known yet.
        """
        stop = first + len(frames) - (0 if last else self._speech_radius)
        jaw = low_pass(frames.units[:, [self._jaw]], self._speech)[:, 0]
        while (onset := round(self._next * RATE)) < stop:
            speaks = bool(jaw[onset - first] > SPEAKING_JAW)
            away = torch.rand((), generator=self._generator) < self._chances[speaks]
            noise = torch.randn(2, generator=self._generator)
            self._fixations.append((onset, noise * self._spreads[int(away)]))
            self._next += self._shortest + gamma(2, self._scale, self._generator)
        earlier = sum(onset <= first for onset, _ in self._fixations)
        self._fixations = self._fixations[max(0, earlier - 1) :]


class Lids(Step):
    """Blinks, lids that follow the eyes down, and units that follow others."""

    def __init__(
        self,
        parameters: Sequence[str],
        units: Sequence[str],
        generator: Generator,
        *,
        shortest: float,  # seconds; the next blink follows after shortest + gamma(4, scale)
        scale: float,
        follow_gaze: float,  # weight of the lids for a radian down
        follow: Mapping[str, tuple[str, float]],  # unit -> unit that it follows, and how much
    ) -> None:
        self._generator = generator
        self._shortest, self._scale, self._follow_gaze = shortest, scale, follow_gaze
        self._lids = [units.index(f"eyeBlink{side}") for side in ("Left", "Right")]
        self._down = parameters.index("eye_L_rx")
        self._follow = [
            (units.index(name), units.index(source), gain)
            for name, (source, gain) in follow.items()
        ]
        self._low = gaussian(FOLLOW_SECONDS)
        self.radius = max(kernel_radius(FOLLOW_SECONDS), round(3 * BLINK_SECONDS * RATE))
        self._blinks = [0.3 + 2.7 * float(torch.rand((), generator=generator))]

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Move the lids."""
        stop = first + len(frames)
        while self._blinks[-1] * RATE < stop + self.radius:
            wait = self._shortest + gamma(4, self._scale, self._generator)
            self._blinks.append(self._blinks[-1] + wait)
        self._blinks = [each for each in self._blinks if each * RATE > first - self.radius]
        times = (torch.arange(first, stop) + 0.5) / RATE
        closed = torch.zeros(len(frames))
        for moment in self._blinks:
            closed = torch.maximum(closed, torch.exp(-(((times - moment) / BLINK_SECONDS) ** 2)))
        units = frames.units.clone()
        low = low_pass(frames.units, self._low)
        for unit, source, gain in self._follow:
            units[:, unit] = (units[:, unit] + gain * low[:, source]).clamp(0, 1)
        lowered = (self._follow_gaze * frames.pose[:, self._down]).clamp(0, MOST_LOWERED)
        units[:, self._lids] = torch.maximum(closed, lowered)[:, None]
        return replace(frames, units=units)
