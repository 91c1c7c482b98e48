"""Audio of a dataset: 48 kHz, left (first) channel the person, right channel the partner."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np

from models.formats.wav import FRAME_RATE as FRAME_RATE
from models.formats.wav import SAMPLE_RATE as SAMPLE_RATE
from models.formats.wav import SAMPLES_PER_FRAME as SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write_wav(path: Path, samples: NDArray[np.float32], *, rate: int = SAMPLE_RATE) -> None:
    """Write samples [N, channels] as 16 bit; values outside [-1, 1] are clipped."""
    whole = (np.clip(samples, -1, 1) * 32767).round().astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(whole.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())


def loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Square root of the RMS of every frame of samples [N] -> [T]: approximate loudness."""
    frames = len(samples) // SAMPLES_PER_FRAME
    cut = samples[: frames * SAMPLES_PER_FRAME].reshape(frames, SAMPLES_PER_FRAME)
    return np.sqrt(np.sqrt((cut.astype(np.float64) ** 2).mean(1)))
