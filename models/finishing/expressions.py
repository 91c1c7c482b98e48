"""Small expressions besides those that the networks give: frowns, lifted cheeks, pressed corners.

They follow from what is meant, not from how it sounds, so the networks leave these units at 0. Here
their times are renewal processes of the seed; only whether somebody speaks decides which may come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from models.finishing.eyes import gamma
from models.finishing.stages import RATE, Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from torch import Generator, Tensor

    from models.finishing.stages import Frames

SPEAKING, LISTENING = "speaking", "listening"
LONGEST = 0.45  # seconds, half the length of an expression
REACH = round(2 * LONGEST * RATE)  # frames; farther away an expression is below 1e-6
WEAKEST = 0.5  # share of the declared weights


class Expressions(Step):
    """Add expressions while she speaks, or while she listens in silence."""

    def __init__(
        self,
        units: Sequence[str],
        generator: Generator,
        *,
        kinds: Mapping[str, Mapping[str, Any]],  # parameters of `_Kind` by name
    ) -> None:
        self._generator = generator
        self._kinds = [_Kind.of(units, **values) for values in kinds.values()]
        self._next = [self._wait(kind) for kind in self._kinds]  # seconds
        self._shown: list[_Shown] = []
        self.hears = 2 * REACH

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Add the expressions of these frames."""
        self._extend(frames.voices, first, last=last)
        units = frames.units.clone()
        times = torch.arange(first, first + len(frames))
        for each in self._shown:
            since = (times - each.frame) / (each.half_length * RATE)
            near = (times - each.frame).abs() <= REACH
            units += (near * torch.exp(-(since**4)))[:, None] * each.weights
        self._shown = [each for each in self._shown if each.frame > first - REACH]
        return replace(frames, units=units.clamp(0, 1))

    def _extend(self, voices: Tensor, first: int, *, last: bool) -> None:
        """Draw the expressions in further frames, in the order of time; each only once."""
        known = first + len(voices) - (0 if last else REACH)
        while self._next and (frame := round(min(self._next) * RATE)) < known:
            index = self._next.index(min(self._next))
            kind = self._kinds[index]
            shown = kind.draw(frame, self._generator)
            self._next[index] += self._wait(kind)
            if kind.suits(voices[max(0, frame - first - REACH) : frame - first + REACH + 1]):
                self._shown.append(shown)

    def _wait(self, kind: _Kind) -> float:
        return kind.every / 2 + gamma(2, kind.every / 4, self._generator)


@dataclass(frozen=True)
class _Shown:
    """An expression at a moment."""

    frame: int
    half_length: float  # seconds
    weights: Tensor  # [U]


@dataclass(frozen=True)
class _Kind:
    """A kind of expression."""

    weights: Tensor  # [U]
    sides: Tensor  # [U] 1 left, -1 right, 0 in the middle
    when: str
    every: float  # mean seconds between two; those at another time than `when` are left out
    lasts: tuple[float, float]  # half the length, seconds
    uneven: float  # largest difference of a side from the mean

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        *,
        units: Mapping[str, float],
        when: str,
        every: float,
        lasts: tuple[float, float],
        uneven: float,
    ) -> _Kind:
        if when not in (SPEAKING, LISTENING):
            raise ValueError(f"when: {SPEAKING} or {LISTENING}, got {when!r}")
        low, high = lasts
        if not 0 < low <= high <= LONGEST:
            raise ValueError(f"lasts: two rising lengths up to {LONGEST} s, got {lasts}")
        weights, sides = torch.zeros(len(names)), torch.zeros(len(names))
        for name, weight in units.items():
            weights[names.index(name)] = weight
            sides[names.index(name)] = name.endswith("Left") - name.endswith("Right")
        return cls(weights, sides, when, every, lasts, uneven)

    def draw(self, frame: int, generator: Generator) -> _Shown:
        strength, length, side = torch.rand(3, generator=generator).tolist()
        low, high = self.lasts
        weights = self.weights * (1 + self.uneven * (2 * side - 1) * self.sides)
        return _Shown(
            frame, low + (high - low) * length, weights * (WEAKEST + (1 - WEAKEST) * strength)
        )

    def suits(self, voices: Tensor) -> bool:
        """Check the voices around an expression, [N, 2]."""
        own, partner = (bool(voices[:, channel].any()) for channel in range(2))
        return own if self.when == SPEAKING else partner and not own
