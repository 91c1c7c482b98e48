"""Lips of the regressor in place of those of the face network.

The face network reads little of a phone's shape from sound, least of all rounding and closed lips
(ADR 34). Its brows, lids, cheeks and smile stay. A sentence forms the same lips in every take.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.motion.execution.lanes import ease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from models.finishing.stages import Frames


AROUND = 2  # frames before and after one, over which a closure is looked for
PEAK = (0.5, 0.9)  # of the highest probability around: lips begin to close, and are closed


class Lips:
    """Replace lip units, close lips where the regressor says so, and flatten smiles of round lips.

    A motion without the regressor's columns is left as it is.
    """

    radius, hears = AROUND, 0

    def __init__(
        self,
        units: Sequence[str],
        regressed: Sequence[str],  # units of the regressor, in its order
        *,
        opening: Sequence[str],  # starts of the names of units that part the lips
        closed: tuple[float, float],  # as `closing` has them
        rounding: Sequence[str],  # units of round lips
        smiling: Sequence[str],  # starts of the names of units that round lips reduce
        gains: dict[str, float],  # of regressed units, which are means of what is possible
        offsets: dict[str, float] | None = None,  # subtracted, so that gains keep the mean
    ) -> None:
        self._columns = [units.index(name) for name in regressed]
        self._opening = _columns_of(opening, units)
        self._rounding = _columns_of(rounding, units)
        self._smiling = _columns_of(smiling, units)
        self._begin, self._shut = closed
        if not 0 <= self._begin < self._shut <= 1:
            raise ValueError(f"closed: two rising probabilities, got {closed}")
        self._gains = torch.tensor([gains.get(name, 1.0) for name in regressed])
        self._offsets = torch.tensor([(offsets or {}).get(name, 0.0) for name in regressed])

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Give these frames the lips of the regressor."""
        if not frames.lips.shape[1]:
            return frames
        lips, probability = frames.lips[:, :-1], frames.lips[:, -1]
        units = frames.units.clone()
        units[:, self._columns] = (lips * self._gains - self._offsets).clamp(0, 1)
        shut = closing(probability, self._begin, self._shut)
        units[:, self._opening] *= 1 - shut[:, None]
        round_lips = units[:, self._rounding].sum(1, keepdim=True).clamp(0, 1)
        units[:, self._smiling] *= 1 - round_lips
        return replace(frames, units=units)


def closing(probability: Tensor, begin: float, shut: float) -> Tensor:
    """Degree of closing, 0 to 1, from the probability of closed lips: [T] -> [T].

    p, b and m last one to three frames, and the regressor is surer that they come than when. So the
    mean probability over some frames, from `begin` to `shut`, decides whether lips close, and they
    do so only near its peak: a closure is certain, but as short as it is in speech.
    """
    around = functional.pad(probability[None], (AROUND, AROUND), mode="replicate")
    size = 2 * AROUND + 1
    mean = functional.avg_pool1d(around, size, 1)[0]
    peak = functional.max_pool1d(around, size, 1)[0].clamp(min=1e-6)
    lowest, highest = PEAK
    near = (probability / peak - lowest) / (highest - lowest)
    return ease(((mean - begin) / (shut - begin)).clamp(0, 1)) * ease(near.clamp(0, 1))


def _columns_of(starts: Sequence[str], units: Sequence[str]) -> list[int]:
    columns = [i for i, name in enumerate(units) if name.startswith(tuple(starts))]
    if not columns:
        raise ValueError(f"no unit starts with {', '.join(starts)}")
    return columns
