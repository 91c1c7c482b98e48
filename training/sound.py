"""Wave files of the dataset: 48 kHz, 16 bit, channel 0 the person, channel 1 the partner."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAME_RATE = 30
SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE


def write_wav(path: Path, samples: NDArray[np.float32], *, rate: int = SAMPLE_RATE) -> None:
    """Writes samples [N, channels] in [-1, 1] as 16 bit; what lies outside is clipped."""
    whole = (np.clip(samples, -1, 1) * 32767).round().astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(whole.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())


def read_wav(path: Path) -> NDArray[np.float32]:
    """Reads a 48 kHz, 16 bit file as [N, channels] in [-1, 1]."""
    with wave.open(str(path), "rb") as file:
        if file.getframerate() != SAMPLE_RATE or file.getsampwidth() != 2:
            raise ValueError(
                f"{path} has {file.getframerate()} Hz and {8 * file.getsampwidth()} bit; "
                "a dataset is 48000 Hz and 16 bit"
            )
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return (data.reshape(-1, file.getnchannels()) / 32768).astype(np.float32)


def loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Square root of the RMS of every frame of samples [N] -> [T]: about how loud it sounds."""
    frames = len(samples) // SAMPLES_PER_FRAME
    cut = samples[: frames * SAMPLES_PER_FRAME].reshape(frames, SAMPLES_PER_FRAME)
    return np.sqrt(np.sqrt((cut.astype(np.float64) ** 2).mean(1)))
