"""Resampling by a Hann-windowed sinc, with the numbers that the speech networks were trained on.

Letters: N samples of a signal, R = rates divided by their greatest common divisor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

LOBES = 6  # zero crossings of the sinc on each side
ROLL_OFF = 0.99  # of the lower Nyquist frequency
EXACT_RATES = 1000  # a bank of more filters than this is no longer small


def sinc_filters(
    source_rate: int, target_rate: int, *, dtype: torch.dtype = torch.float64
) -> Tensor:
    """One filter for each phase of the output, [target R, 1, taps] float32, made in `dtype`.

    Released numbers need float64 where filters are part of a network, and float32 in `resample`.
    """
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    if target > EXACT_RATES:
        raise ValueError(f"{source_rate} to {target_rate} Hz needs {target} filters; too many")
    cutoff = min(source, target) * ROLL_OFF
    half = _half_width(source, cutoff)
    taps = torch.arange(-half, half + source, dtype=dtype)[None] / source
    phases = torch.arange(0, -target, -1, dtype=dtype)[:, None] / target
    time = ((phases + taps) * cutoff).clamp(-LOBES, LOBES)  # [target R, taps]
    window = torch.cos(time * math.pi / LOBES / 2) ** 2
    angles = time * math.pi
    sinc = torch.where(angles == 0, torch.ones_like(angles), angles.sin() / angles)
    filters = sinc * window * (cutoff / source)
    return filters[:, None].float()


def resample(signal: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """signal [B, N] at one rate -> [B, ceil(N * target / source)] at another.

    Raises ValueError for rates whose smallest ratio has more than 1000 filters.
    """
    if source_rate == target_rate:
        return signal
    filters = sinc_filters(source_rate, target_rate, dtype=torch.float32)
    filters = filters.to(signal.device, signal.dtype)
    return resample_with(signal, filters, source_rate, target_rate)


def resample_with(signal: Tensor, filters: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """`resample` with filters [target R, 1, taps] that are already there: signal [B, N]."""
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    half = _half_width(source, min(source, target) * ROLL_OFF)
    padded = pad(signal, (half, half + source))[:, None]
    phases = conv1d(padded, filters, stride=source)  # [B, 1, N] -> [B, target R, rows]
    length = -(-signal.shape[1] * target // source)
    return phases.transpose(1, 2).flatten(1)[:, :length]


def _half_width(source: int, cutoff: float) -> int:
    return math.ceil(LOBES * source / cutoff)
