"""WAV files: written as floats, memory-mapped and read in pieces.

Letters: N samples per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.wav import CONVERT, WavHeader, float_header, read_wav_header
from contracts.wav import WavError as WavError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAME_RATE = 30
SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE

TYPES = {  # numpy type of a sample; 24 bit as three bytes
    "s16le": "<i2", "s24le": "u1", "s32le": "<i4", "f32le": "<f4", "f64le": "<f8",
}  # fmt: skip


@dataclass(frozen=True)
class WavFile:
    """Memory-mapped WAV file; only samples that are read take memory."""

    path: Path
    rate: int  # Hz
    bits: int
    raw: NDArray[Any]  # [N, channels] as stored; 24 bit as [N, channels, 3] bytes

    def __len__(self) -> int:
        """Return N."""
        return len(self.raw)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.raw.shape[1]

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Read samples [start, stop), float32 [n, channels]; integers are scaled to [-1, 1)."""
        samples = self.raw[start:stop]
        if self.bits == 24:
            # The three bytes become the upper bytes of a 32-bit integer.
            wide = np.zeros((*samples.shape[:2], 4), np.uint8)
            wide[..., 1:] = samples
            samples = wide.view("<i4")[..., 0]
        if samples.dtype.kind == "f":
            return samples.astype(np.float32)
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)


def open_wav(path: Path) -> WavFile:
    """Open a WAV file of integers (16, 24, 32 bit) or floats (32, 64 bit), memory-mapped.

    Raises: WavError: when the file is missing, truncated or of another format.
    """
    try:
        with path.open("rb") as file:
            header = read_wav_header(file)
    except OSError as error:
        raise WavError(f"{path}: cannot be read ({error.strerror or error})") from error
    except WavError as error:
        raise WavError(f"{path}: {error}") from error
    kind = _checked(header, path)
    shape = (header.samples, header.channels, *((3,) if header.bits == 24 else ()))
    if not header.samples:  # an empty range cannot be mapped
        return WavFile(path, header.rate, header.bits, np.zeros(shape, kind))
    raw = np.memmap(path, kind, "r", offset=header.offset, shape=shape)
    return WavFile(path, header.rate, header.bits, raw)


def _checked(header: WavHeader, path: Path) -> str:
    """Return the numpy type of a sample."""
    kind = TYPES.get(header.pcm or "")
    if kind is None:
        raise WavError(
            f"{path}: unsupported format ({header.channels} channels of {header.bits} bit, format "
            f"tag {header.tag}); it must be PCM of 16, 24 or 32 bit or floats: {CONVERT}"
        )
    if header.truncated:
        raise WavError(
            f"{path}: truncated, {header.present} of {header.stated} bytes of audio; copy it again"
        )
    if header.split:
        raise WavError(f"{path}: the samples are in several chunks; export it again as one")
    if header.follower is not None:
        raise WavError(f"{path}: another WAV file is appended to it; {CONVERT}")
    return kind


def write_float_wav(path: Path, samples: NDArray[np.float32], *, length: int) -> None:
    """Write samples [N, channels] at 48 kHz as floats, cut or padded with zeros to `length`."""
    channels = samples.shape[1]
    with path.open("wb") as file:
        file.write(float_header(channels, SAMPLE_RATE, length))
        for start in range(0, length, SAMPLE_RATE):
            part = np.zeros((min(SAMPLE_RATE, length - start), channels), "<f4")
            piece = samples[start : start + len(part)]
            part[: len(piece)] = piece
            file.write(part.tobytes())
