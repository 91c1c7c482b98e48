"""WAV files, memory-mapped and read in pieces.

Letters: N samples per channel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from contracts.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAME_RATE = 30
SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE

INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE  # format tags
UNKNOWN_LENGTHS = (0, 0xFFFF_FFFF)  # length field of files written to a pipe
KINDS = {  # (format tag, bits) -> numpy type of a sample; 24 bit as three bytes
    (INTEGERS, 16): "<i2", (INTEGERS, 24): "u1", (INTEGERS, 32): "<i4",
    (FLOATS, 32): "<f4", (FLOATS, 64): "<f8",
}  # fmt: skip


class WavError(InputError):
    """Missing, damaged or unsupported audio file."""


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
            header = _Header.read(file, path)
    except OSError as error:
        raise WavError(f"{path}: cannot be read ({error.strerror or error})") from error
    shape = (header.samples, header.channels, *((3,) if header.bits == 24 else ()))
    if not header.samples:  # an empty range cannot be mapped
        return WavFile(path, header.rate, header.bits, np.zeros(shape, header.kind))
    raw = np.memmap(path, header.kind, "r", offset=header.offset, shape=shape)
    return WavFile(path, header.rate, header.bits, raw)


@dataclass(frozen=True)
class _Header:
    """Format and position of the samples in a WAV file."""

    rate: int
    channels: int
    bits: int
    kind: str
    offset: int
    samples: int

    @classmethod
    def read(cls, file: BinaryIO, path: Path) -> _Header:
        riff, _, wave = struct.unpack("<4sI4s", _exactly(file, 12, path))
        if (riff, wave) != (b"RIFF", b"WAVE"):
            raise WavError(f"{path}: not a WAV file; convert it, for example with ffmpeg")
        format_chunk: bytes | None = None
        while True:
            name, size = struct.unpack("<4sI", _exactly(file, 8, path))
            if name == b"data":
                break
            content = file.tell()
            if name == b"fmt ":
                format_chunk = _exactly(file, size, path)
            file.seek(content + size + size % 2)
        if format_chunk is None or len(format_chunk) < 16:
            raise WavError(f"{path}: damaged, the format of the samples is missing; copy it again")
        return cls._of(format_chunk, size, file, path)

    @classmethod
    def _of(cls, format_chunk: bytes, size: int, file: BinaryIO, path: Path) -> _Header:
        tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", format_chunk[:16])
        if tag == EXTENSIBLE and len(format_chunk) >= 26:
            (tag,) = struct.unpack("<H", format_chunk[24:26])
        kind = KINDS.get((tag, bits))
        if kind is None or not channels or block != channels * bits // 8:
            raise WavError(
                f"{path}: unsupported format ({channels} channels of {bits} bit, format tag "
                f"{tag}); convert it to PCM of 16, 24 or 32 bit or to floats"
            )
        offset = file.tell()
        present = file.seek(0, 2) - offset
        if size in UNKNOWN_LENGTHS:
            size = present
        if size > present:
            raise WavError(f"{path}: truncated, {present} of {size} bytes of audio; copy it again")
        return cls(rate, channels, bits, kind, offset, size // block)


def _exactly(file: BinaryIO, count: int, path: Path) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise WavError(f"{path}: truncated or not a WAV file; copy it again")
    return content
