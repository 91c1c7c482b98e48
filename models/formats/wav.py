"""Wave files as they lie on disk: mapped into memory, and read in pieces.

Letters: N samples of each channel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAME_RATE = 30
SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE

INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE  # what the samples of a wave file may be
UNKNOWN_LENGTHS = (0, 0xFFFF_FFFF)  # of a file that was written into a pipe
KINDS = {  # (what, bits) -> how a sample lies in the file; 24 bit as three bytes
    (INTEGERS, 16): "<i2", (INTEGERS, 24): "u1", (INTEGERS, 32): "<i4",
    (FLOATS, 32): "<f4", (FLOATS, 64): "<f8",
}  # fmt: skip


class WavError(ValueError):
    """A sound file that is missing, damaged or of another kind: one sentence."""


@dataclass(frozen=True)
class WavFile:
    """A wave file, mapped: nothing of it is in memory but what was read last."""

    path: Path
    rate: int  # samples a second
    bits: int
    raw: NDArray[Any]  # [N, channels] as in the file; 24 bit as [N, channels, 3] bytes

    def __len__(self) -> int:
        """N."""
        return len(self.raw)

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.raw.shape[1]

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Samples [start, stop) of every channel, float32 [n, channels]; integers in [-1, 1)."""
        cut = self.raw[start:stop]
        if self.bits == 24:
            # The three bytes become the upper ones of a whole number of 32 bits.
            wide = np.zeros((*cut.shape[:2], 4), np.uint8)
            wide[..., 1:] = cut
            cut = wide.view("<i4")[..., 0]
        if cut.dtype.kind == "f":
            return cut.astype(np.float32)
        return (cut / -float(np.iinfo(cut.dtype).min)).astype(np.float32)


def open_wav(path: Path) -> WavFile:
    """A wave file of whole numbers (16, 24, 32 bit) or floats (32, 64 bit), mapped.

    WavError where there is none, where it is cut off, and for everything else.
    """
    try:
        with path.open("rb") as file:
            head = _Head.read(file, path)
    except OSError as error:
        raise WavError(f"{path} cannot be read: {error.strerror or error}") from error
    shape = (head.samples, head.channels, *((3,) if head.bits == 24 else ()))
    if not head.samples:  # nothing cannot be mapped
        return WavFile(path, head.rate, head.bits, np.zeros(shape, head.kind))
    raw = np.memmap(path, head.kind, "r", offset=head.offset, shape=shape)
    return WavFile(path, head.rate, head.bits, raw)


@dataclass(frozen=True)
class _Head:
    """What a wave file says of its samples, and where they are."""

    rate: int
    channels: int
    bits: int
    kind: str
    offset: int
    samples: int

    @classmethod
    def read(cls, file: BinaryIO, path: Path) -> _Head:
        riff, _, wave = struct.unpack("<4sI4s", _exactly(file, 12, path))
        if (riff, wave) != (b"RIFF", b"WAVE"):
            raise WavError(f"{path} is no wave file; make one, for example with ffmpeg")
        form: bytes | None = None
        while True:
            name, size = struct.unpack("<4sI", _exactly(file, 8, path))
            if name == b"data":
                break
            content = file.tell()
            if name == b"fmt ":
                form = _exactly(file, size, path)
            file.seek(content + size + size % 2)
        if form is None or len(form) < 16:
            raise WavError(f"{path} is damaged: it does not say what its samples are")
        return cls._of(form, size, file, path)

    @classmethod
    def _of(cls, form: bytes, size: int, file: BinaryIO, path: Path) -> _Head:
        what, channels, rate, _, block, bits = struct.unpack("<HHIIHH", form[:16])
        if what == EXTENSIBLE and len(form) >= 26:
            (what,) = struct.unpack("<H", form[24:26])
        kind = KINDS.get((what, bits))
        if kind is None or not channels or block != channels * bits // 8:
            raise WavError(
                f"{path} has {channels} channels of {bits} bit in form {what}; what can be read "
                "is plain samples of 16, 24 or 32 bit, or floats"
            )
        offset = file.tell()
        there = file.seek(0, 2) - offset
        if size in UNKNOWN_LENGTHS:
            size = there
        if size > there:
            raise WavError(
                f"{path} is cut off: it has {there} of {size} bytes of sound; copy it again"
            )
        return cls(rate, channels, bits, kind, offset, size // block)


def _exactly(file: BinaryIO, count: int, path: Path) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise WavError(f"{path} is cut off or no wave file; copy it again")
    return content
