"""Changes of the bands of log-mel rows: other voices, telephones.

They are drawn anew in every step, from cached rows.
Letters: B windows, T frames, s slices of a row, M bands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.motion.speech import band_centres, scale_frequencies

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from models.motion.speech import MelSpeechConfig

LOWEST_CUT, HIGHEST_CUT = (0.0, 300.0), (3200.0, 5000.0)  # Hz
SILENT = -6.0  # row value of a band without sound: 140 dB below the speech


def scale_formants(rows: Tensor, mel: MelSpeechConfig, most: float, generator: Generator) -> Tensor:
    """Scale the frequencies of each window by up to 1 - most to 1 + most: [B, T, s M].

    Vocal tract length perturbation (Jaitly and Hinton 2013), on bands.
    """
    if most == 0:
        return rows
    factors = 1 + most * (2 * torch.rand(len(rows), 1, generator=generator) - 1)
    return scale_frequencies(rows, mel, factors[:, 0])


def narrow_bands(rows: Tensor, mel: MelSpeechConfig, share: float, generator: Generator) -> Tensor:
    """Silence high and low bands of a share of windows, [B, T, s M]."""
    if share == 0:
        return rows
    count = len(rows)
    low = _uniform(LOWEST_CUT, count, generator)
    high = _uniform(HIGHEST_CUT, count, generator)
    centres = band_centres(mel)
    outside = (centres < low) | (centres > high)  # [B, M]
    outside &= torch.rand(count, 1, generator=generator) < share
    return rows.masked_fill(outside.repeat(1, mel.slices)[:, None], SILENT)


def _uniform(limits: tuple[float, float], count: int, generator: Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(count, 1, generator=generator)
