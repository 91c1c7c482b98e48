"""Audio preparation of the reference's public demo, for the parity test.

The service does not do this: it keeps both speakers, the level and the end of the recording.
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
PARTNER_NOISE = 0.001  # standard deviation of the noise in place of the partner


def demo_audio(
    raw: Tensor,  # [n] or [n, channels], whole numbers or floats
    rate: int,
    statistics: Statistics,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Return one speaker at 48 kHz beside noise, normalised, [samples, 2].

    The speaker is cut to whole pieces of 4 s and divided by its maximum.

    Raises: ValueError: when the recording is shorter than 4 s.
    """
    mono = raw.float() if raw.ndim == 1 else raw.float().mean(1)
    audio = resample(mono[None], rate, SAMPLE_RATE)[0]
    piece = PIECE_SECONDS * SAMPLE_RATE
    if len(audio) < piece:
        raise ValueError(f"the demo takes {PIECE_SECONDS} s or more, got {len(mono) / rate:.2f} s")
    audio = audio[: len(audio) // piece * piece]
    audio = audio / audio.max()  # not of the absolute values
    noise = PARTNER_NOISE * torch.randn(len(audio), generator=generator)
    return statistics.normalised_audio(torch.stack([audio, noise], dim=1))
