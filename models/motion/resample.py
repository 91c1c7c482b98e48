"""Resampling by a Hann-windowed sinc, with the constants used to train the speech networks.

Letters: N samples of a signal, R = rates divided by their greatest common divisor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

LOBES = 6  # zero crossings of the sinc on each side
ROLL_OFF = 0.99  # of the lower Nyquist frequency
MAX_FILTERS = 1000  # a larger filter bank needs too much memory


def sinc_filters(
    source_rate: int, target_rate: int, *, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Filters, one per phase of the output, [target R, 1, taps] float32, computed in `dtype`.

    To match the reference, filters inside a network are computed in float64 and those of
    `resample` in float32.

    Raises: ValueError: when the ratio of the rates needs more than MAX_FILTERS filters.
    """
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    if target > MAX_FILTERS:
        raise ValueError(
            f"resampling from {source_rate} to {target_rate} Hz needs {target} filters; at most "
            f"{MAX_FILTERS} are supported"
        )
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
    """Resample a signal [B, N] -> [B, ceil(N * target / source)].

    Raises: ValueError: when the ratio of the rates needs more than MAX_FILTERS filters.
    """
    if source_rate == target_rate:
        return signal
    filters = sinc_filters(source_rate, target_rate, dtype=torch.float32)
    filters = filters.to(signal.device, signal.dtype)
    return resample_with(signal, filters, source_rate, target_rate)


def resample_with(signal: Tensor, filters: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample a signal [B, N] with precomputed filters [target R, 1, taps]."""
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    half = _half_width(source, min(source, target) * ROLL_OFF)
    padded = pad(signal, (half, half + source))[:, None]
    phases = conv1d(padded, filters, stride=source)  # [B, 1, N] -> [B, target R, rows]
    length = -(-signal.shape[1] * target // source)
    return phases.transpose(1, 2).flatten(1)[:, :length]


def _half_width(source: int, cutoff: float) -> int:
    return math.ceil(LOBES * source / cutoff)
