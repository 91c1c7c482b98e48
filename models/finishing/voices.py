"""The frames in which each of two people speaks, from audio that arrives in chunks."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import torch

from models.motion.speech import SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

QUIETEST = 3e-3  # root mean square of samples in [-1, 1]
SHARE_OF_LOUD = 0.2  # of the loudest frames so far; speech is louder
FADE = 0.5 ** (1 / 300)  # of the loudest frames, in each frame: half in ten seconds
CROSSTALK = 0.3  # of the other channel's level; what is quieter is that voice, heard in this one


class Voices:
    """Pass audio on and remember where person and partner speak."""

    def __init__(self) -> None:
        self._rest = torch.zeros(0, 2)
        self._loudest = [0.0, 0.0]
        self._found: list[list[float]] = []

    def listen(self, chunks: Iterable[Tensor], *, ahead: int = 0) -> Iterator[Tensor]:
        """Yield the chunks [n, 2] unchanged, each once `ahead` frames after it are heard."""
        waiting: deque[Tensor] = deque()
        later = 0  # samples that are heard and not yielded
        for chunk in chunks:
            self._add(chunk)
            waiting.append(chunk)
            later += len(chunk)
            while waiting and later - len(waiting[0]) >= ahead * SAMPLES_PER_FRAME:
                later -= len(waiting[0])
                yield waiting.popleft()
        if len(self._rest):
            self._add(torch.zeros(SAMPLES_PER_FRAME - len(self._rest), 2))
        yield from waiting

    def take(self, frames: int) -> Tensor:
        """Return the next `frames` and all that are known after them, and move on by `frames`.

        [V, 2] of 0 and 1: person, partner; 0 after the audio's end.
        """
        known, self._found = self._found, self._found[frames:]
        return torch.tensor(known + [[0.0, 0.0]] * (frames - len(known))).view(-1, 2)

    def _add(self, chunk: Tensor) -> None:
        samples = torch.cat([self._rest, chunk.float().cpu()])
        whole = len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        self._rest = samples[whole:].clone()
        parts = samples[:whole].view(-1, SAMPLES_PER_FRAME, 2)
        for levels in parts.square().mean(1).sqrt().tolist():
            speaks = []
            for channel, level in enumerate(levels):
                loudest = max(level, FADE * self._loudest[channel])
                self._loudest[channel] = loudest
                other = levels[1 - channel]
                speaks.append(
                    float(level > max(QUIETEST, SHARE_OF_LOUD * loudest, CROSSTALK * other))
                )
            self._found.append(speaks)
