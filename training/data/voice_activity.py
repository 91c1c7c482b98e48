"""Voice activity detection by the loudness of the channels of a conversation.

Letters: n samples at 48 kHz, T frames at 30 a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.audio import FRAME_RATE, loudness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

SILENT = 0.1  # fraction of a channel's loud frames (95 % quantile); below it is silence
PAUSE = 11  # frames, odd: shorter pauses count as speech
QUIETEST = 1e-4  # highest amplitude of an empty channel


def speech_mask(samples: Array, channel: int) -> NDArray[np.bool_]:
    """Frames [T] with speech in a channel of [n, 2], including pauses below a third of a second."""
    level = loudness(samples[:, channel].astype(np.float32))
    loud = level > SILENT**0.5 * np.quantile(level, 0.95)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(loud, PAUSE // 2), PAUSE)
    return np.asarray(around.any(1))


def while_speaking(times: Array, audio: Array) -> Array:
    """Select the times, in seconds, with speech in the left (first) channel of audio [n, 2]."""
    if not len(times) or np.abs(audio[:, 0]).max() < QUIETEST:
        return times[:0]
    speech = speech_mask(audio, 0)
    return times[speech[np.minimum((times * FRAME_RATE).astype(int), len(speech) - 1)]]
