"""Who speaks when, by how loud the channels of a conversation are.

Letters: n samples at 48 kHz, T frames at 30 a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.audio import FRAME_RATE, loudness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

SILENT = 0.1  # of a channel's loud frames (95 % quantile): below it nobody speaks
PAUSE = 11  # frames, odd: shorter pauses belong to speech
QUIETEST = 1e-4  # a channel that never gets louder has nobody in it


def heard(samples: Array, channel: int) -> NDArray[np.bool_]:
    """Frames [T] in which a channel of [n, 2] speaks, pauses below a third of a second included."""
    level = loudness(samples[:, channel].astype(np.float32))
    loud = level > SILENT**0.5 * np.quantile(level, 0.95)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(loud, PAUSE // 2), PAUSE)
    return np.asarray(around.any(1))


def while_speaking(times: Array, audio: Array) -> Array:
    """Those of the times, in seconds, at which channel 0 of a sound [n, 2] speaks."""
    if not len(times) or np.abs(audio[:, 0]).max() < QUIETEST:
        return times[:0]
    speaks = heard(audio, 0)
    return times[speaks[np.minimum((times * FRAME_RATE).astype(int), len(speaks) - 1)]]
