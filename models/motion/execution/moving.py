"""Networks over windows that move from call to call, for one clip or several in a batch.

Letters as in `models.motion.execution.lanes`; M clips, B the takes of all clips, G rows of a
condition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from models.motion.execution.lanes import Call
from models.motion.execution.padding import joined_conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.motion.denoiser import Condition, Denoiser
    from models.motion.execution.lanes import Lane


class Sections:
    """Conditions of the frames of each call, from the features of a window."""

    def __init__(
        self,
        rows: Tensor,  # [1, L, A] speech features of the window
        frames: int,
        make: Callable[[Tensor, Call], Condition],
    ) -> None:
        """make: makes the condition of frames from their rows."""
        self._rows, self._frames, self._make = rows, frames, make
        self._last: tuple[Call, Condition] | None = None

    def of(self, call: Call) -> Condition:
        """Return the condition of the frames of a call; several calls in a row have the same."""
        if self._last is None or self._last[0] != call:
            start, stop = (round(each * self._rows.shape[1] / self._frames) for each in call)
            self._last = call, self._make(self._rows[:, start:stop], call)
        return self._last[1]


class Part(NamedTuple):
    """Takes of a clip, or of a window of it."""

    condition: Condition | Sections  # sections with a lane
    lane: Lane | None  # None: each call predicts all frames
    takes: slice  # of the clip
    frames: int  # T

    def call(self, place: int) -> Call:
        """Return the frames that a call predicts."""
        return Call(0, self.frames) if self.lane is None else self.lane.call(place)

    def cut(self, call: Call) -> Condition:
        """Return the condition of the frames of a call."""
        if isinstance(self.condition, Sections):
            return self.condition.of(call)
        return self.condition


class Moving:
    """A network that predicts in each call the frames of the lanes, of x [H B, T, C]."""

    def __init__(self, network: Denoiser, parts: Sequence[Part], halves: int) -> None:
        """halves: of the conditions, 2 with guidance."""
        self._network, self._parts, self._halves = network, parts, halves
        self._counts = [part.takes.stop - part.takes.start for part in parts]
        self._place = 0
        self._last: tuple[dict[int, Call], Condition] | None = None  # the parts that were asked

    def both(self, x: Tensor, t: int) -> Tensor:
        """Predict with all rows of the condition, [H B, T, C]."""
        return self._predicted(x, t, lambda condition: condition)

    def conditional(self, x: Tensor, t: int) -> Tensor:
        """Predict with the first half of the rows of the condition, [B, T, C]."""
        return self._predicted(x, t, lambda condition: condition.conditional())

    def _predicted(self, x: Tensor, t: int, rows: Callable[[Condition], Condition]) -> Tensor:
        place, self._place = self._place, self._place + 1
        counts = self._counts
        split = _takes(x, counts)  # [H, N, T, C] each
        calls = [part.call(place) for part in self._parts]
        asked = [number for number, call in enumerate(calls) if call.stop > call.start]
        noisy = [split[number][:, :, slice(*calls[number])] for number in asked]
        own = dict(zip(asked, self._network_on(noisy, t, asked, calls, rows), strict=True))
        result = torch.zeros_like(x)
        for number, frames in enumerate(_takes(result, counts)):
            part = self._parts[number]
            x0 = own.get(number, split[number][:, :, :0])
            if part.lane is not None:
                x0 = part.lane.joined(place, x0, part.frames, part.takes)
            frames[:, :, : part.frames] = x0
        return result

    def _network_on(
        self,
        noisy: Sequence[Tensor],  # [H, N, stop - start, C] of each clip that is asked for
        t: int,
        asked: Sequence[int],
        calls: Sequence[Call],
        rows: Callable[[Condition], Condition],
    ) -> list[Tensor]:
        """Return the predictions of a batch, in the shapes of `noisy`."""
        if not asked:
            return []
        counts = [self._counts[number] for number in asked]
        condition = rows(self._condition({number: calls[number] for number in asked}))
        halves, longest = len(noisy[0]), max(each.shape[2] for each in noisy)
        batch = noisy[0].new_zeros(halves, sum(counts), longest, noisy[0].shape[3])
        for place, each in zip(batch.split_with_sizes(counts, 1), noisy, strict=True):
            place[:, :, : each.shape[2]] = each
        groups = torch.full((len(condition.hidden),), t, device=batch.device)
        x0 = self._network(batch.flatten(0, 1), groups, condition)
        predicted = _takes(x0, counts)
        return [own[:, :, : each.shape[2]] for own, each in zip(predicted, noisy, strict=True)]

    def _condition(self, asked: dict[int, Call]) -> Condition:
        """Return the condition of a batch; calls in a row that ask for the same have the same."""
        if self._last is None or self._last[0] != asked:
            counts = [self._counts[number] for number in asked]
            cut = [self._parts[number].cut(call) for number, call in asked.items()]
            one = len(cut) == 1
            self._last = asked, cut[0] if one else joined_conditions(cut, counts, self._halves)
        return self._last[1]


def _takes(x: Tensor, counts: Sequence[int]) -> Sequence[Tensor]:
    """Return the takes of each clip as views: [H B, T, C] -> [H, N, T, C] each."""
    return x.view(-1, sum(counts), *x.shape[1:]).split_with_sizes(list(counts), 1)
