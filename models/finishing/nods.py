"""Nods and small smiles at the ends of the partner's clauses, as listeners give them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from models.finishing.stages import RATE, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from models.finishing.stages import Frames

NOD_HZ = 2.1
NOD_SECONDS = 0.42  # width of the Gaussian around a nod
SMILE_SECONDS = 0.6
SHARES = {"head_rx": 0.65, "neck_rx": 0.35}


class Nods(Step):
    """Add nods after clauses: speech of the partner, then silence."""

    def __init__(
        self,
        parameters: Sequence[str],
        units: Sequence[str],
        generator: Generator,
        *,
        chance: float,  # of a nod at a cue
        amplitude: tuple[float, float],  # rad
        smile: tuple[float, float],  # weight of the smile
        clause: float,  # seconds; shorter ones are no cue
        pause: float,  # seconds of silence that end a clause
    ) -> None:
        self._generator = generator
        self._chance, self._amplitude, self._smile = chance, amplitude, smile
        self._clause, self._pause = round(clause * RATE), round(pause * RATE)
        self._pitch = [parameters.index(name) for name in SHARES]
        self._shares = torch.tensor(list(SHARES.values()))
        self._smiles = [units.index(f"mouthSmile{side}") for side in ("Left", "Right")]
        self._reach = round(2.5 * SMILE_SECONDS * RATE)
        self.hears = self._reach + self._pause
        self._nods: list[tuple[int, float, float]] = []  # frame, amplitude, smile
        self._seen = 0  # frames whose partner is known
        self._sounding = self._silent = 0  # frames of the current clause, and of silence after it

    def apply(self, frames: Frames, first: int, *, last: bool) -> Frames:
        """Add the nods of these frames."""
        self._listen(frames.voices[self._seen - first :, 1], self._seen)
        pose, units = frames.pose.clone(), frames.units.clone()
        times = torch.arange(first, first + len(frames))
        for frame, amplitude, smile in self._nods:
            since = (times - frame) / RATE
            near = (times - frame).abs() <= self._reach
            nod = amplitude * near * torch.exp(-((since / NOD_SECONDS) ** 2))
            nod = nod * torch.sin(2 * torch.pi * NOD_HZ * since)
            pose[:, self._pitch] += nod[:, None] * self._shares
            lift = smile * near * torch.exp(-((since / SMILE_SECONDS) ** 2))
            units[:, self._smiles] = (units[:, self._smiles] + lift[:, None]).clamp(0, 1)
        self._nods = [each for each in self._nods if each[0] > first - self._reach]
        return replace(frames, pose=pose, units=units)

    def _listen(self, partner: Tensor, start: int) -> None:
        """Find the cues in further frames."""
        for number, speaks in enumerate((partner > 0.5).tolist(), start=start):
            if speaks:
                joined = self._silent < self._pause
                self._sounding = self._sounding + self._silent + 1 if joined else 1
                self._silent = 0
                continue
            self._silent += 1
            if self._silent == self._pause:
                if self._sounding >= self._clause:
                    self._cue(number - self._pause)
                self._sounding = 0
        self._seen = start + len(partner)

    def _cue(self, end: int) -> None:
        draws = torch.rand(3, generator=self._generator).tolist()
        if draws[0] < self._chance:
            amplitude, smile = (
                low + (high - low) * draw
                for (low, high), draw in zip((self._amplitude, self._smile), draws[1:], strict=True)
            )
            self._nods.append((end, amplitude, smile))
