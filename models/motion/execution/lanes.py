"""The frames of a window that each call of a network predicts.

A window of a long clip moves back from call to call, so the border to the window before it lies
elsewhere in each, and no place of the motion is a border in all of them. Solvers compute each frame
from its noise and its predictions alone. So a lane keeps the predictions of all calls, and the next
window, which starts from the same noise, has the same signal in the frames that it shares.

Letters: N takes, T frames of a window, P of them that the window before predicted, C channels,
H halves of a batch for guidance (with the condition, and without), 1 or 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


SLOW_PASS, QUICK_PASS = 24, 8  # frames in which what is slow and what is quick passes
SLOW_FRAMES = 10  # each way, of the mean that is slow


class Call(NamedTuple):
    """Frames of a window that a call of the network predicts: [start, stop), none if equal."""

    start: int
    stop: int


@dataclass
class Lane:
    """Predictions of one network in a window, by call: what is known, and what is made."""

    calls: Sequence[Call]
    known: Mapping[int, Tensor] = field(default_factory=dict)  # [H, N, P, C] of frames [0, P)
    overlap: int = 0  # frames at the end of those, which pass to the predictions of this window
    next_start: int | None = None  # frame at which the next window starts; None without one
    _made: dict[int, dict[int, Tensor]] = field(default_factory=dict)  # by call and first take

    def call(self, place: int) -> Call:
        """Return the frames of a call; a sampler that makes more calls ends with the last one."""
        return self.calls[min(place, len(self.calls) - 1)]

    def joined(self, place: int, own: Tensor, frames: int, takes: slice) -> Tensor:
        """Return predictions of all `frames` of a window, [H, N, T, C]; 0 after those of the call.

        own: [H, N, stop - start, C] of the takes. They are kept for the next window.
        """
        start, stop = self.call(place)
        result = own.new_zeros(*own.shape[:2], frames, own.shape[3])
        result[:, :, start:stop] = own
        if place in self.known:
            known = self.known[place][:, takes]
            end = known.shape[2]
            border = end - (self.overlap if stop > start else 0)
            if border < end:
                both = slice(border, end)
                result[:, :, both] = passed(known[:, :, both], result[:, :, both])
            result[:, :, :border] = known[:, :, :border]
        if self.next_start is not None and stop > self.next_start:
            made = {} if takes.start == 0 else self._made[place]  # a failed try may have left some
            self._made[place] = {**made, takes.start: result[:, :, self.next_start : stop].clone()}
        return result

    def made(self) -> dict[int, Tensor]:
        """Return what the next window knows, by call: [H, N, P, C] of its frames [0, P)."""
        return {
            place: torch.cat([parts[first] for first in sorted(parts)], dim=1)
            for place, parts in self._made.items()
        }


def passed(before: Tensor, after: Tensor) -> Tensor:
    """Pass from predictions that end to those that begin, both [H, N, T, C] -> [H, N, T, C].

    They pass in the middle, because the first frames of a call know nothing before them. What is
    slow in their difference takes longer than what is quick: the mean of two predictions trembles
    less than either. So are pictures blended by bands (Burt and Adelson, "A Multiresolution Spline
    With Application to Image Mosaics", 1983).
    """
    frames, device = before.shape[2], after.device
    slow = _smoothed(before - after)
    quick = before - after - slow
    place = torch.arange(frames, device=device) - (frames - 1) / 2
    old_slow, old_quick = (
        1 - ease((place / count + 0.5).clamp(0, 1))[:, None] for count in (SLOW_PASS, QUICK_PASS)
    )
    return after + old_slow * slow + old_quick * quick


def _smoothed(values: Tensor) -> Tensor:
    """Mean over frames with the weights of a Hann window, end values continued, [H, N, T, C]."""
    window = torch.hann_window(2 * SLOW_FRAMES + 3, periodic=False, device=values.device)[1:-1]
    rows = values.movedim(2, -1)  # [H, N, C, T]
    padded = functional.pad(rows.flatten(0, 1), (SLOW_FRAMES, SLOW_FRAMES), mode="replicate")
    kernel = (window / window.sum()).expand(values.shape[-1], 1, -1)
    smooth = functional.conv1d(padded, kernel, groups=values.shape[-1])  # [H N, C, T]
    return smooth.view(rows.shape).movedim(-1, 2)


def shares(count: int, device: torch.device) -> Tensor:
    """Return the share of what begins, in the frames between what ends and what begins, [count].

    A linear one would change speed at both of its ends, which shows where motion is smooth.
    """
    return ease(torch.linspace(0, 1, count + 2, device=device)[1:-1])


def ease(x: Tensor) -> Tensor:
    """Minimum-jerk transition from 0 to 1."""
    return x**3 * (10 - 15 * x + 6 * x**2)
