"""The way in which the reference's public demo prepares a recording, for those who compare.

The service does not do this: it keeps both speakers, the level, and the tail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.motion.resample import resample
from models.motion.speech import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from models.motion.statistics import Statistics

PIECE_SECONDS = 4
PARTNER_NOISE = 0.001  # spread of what stands for the partner


def demo_audio(
    raw: Tensor,  # [n] or [n, channels], whole numbers or floats
    rate: int,
    statistics: Statistics,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """One speaker at 48 kHz, cut to whole pieces of 4 s, divided by its maximum, beside noise.

    Normalised, [samples, 2]. ValueError for less than 4 s.
    """
    mono = raw.float() if raw.ndim == 1 else raw.float().mean(1)
    sound = resample(mono[None], rate, SAMPLE_RATE)[0]
    piece = PIECE_SECONDS * SAMPLE_RATE
    if len(sound) < piece:
        raise ValueError(f"the demo takes {PIECE_SECONDS} s or more, got {len(mono) / rate:.2f} s")
    sound = sound[: len(sound) // piece * piece]
    sound = sound / sound.max()  # not of the absolute values
    noise = PARTNER_NOISE * torch.randn(len(sound), generator=generator)
    return statistics.normalised_audio(torch.stack([sound, noise], dim=1))
