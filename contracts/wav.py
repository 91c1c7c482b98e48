"""Headers of WAV files (RIFF, RF64 and BW64): the format of the samples and their place.

Uploads and scenes of a dataset are located by this module, so both count the same samples.
Joined files, one appended to another, are several recordings.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import InputError

if TYPE_CHECKING:
    from typing import BinaryIO

INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE  # format tags
PCM = {
    (INTEGERS, 8): "u8", (INTEGERS, 16): "s16le", (INTEGERS, 24): "s24le",
    (INTEGERS, 32): "s32le", (FLOATS, 32): "f32le", (FLOATS, 64): "f64le",
}  # fmt: skip
CHUNKS = 1000  # before or after the samples
RIFF = (b"RIFF", b"RF64", b"BW64")
STREAMED = 0x7FFF_0000  # and more, or 0: sizes of programs that cannot seek back
STREAMED_LARGE = 1 << 62  # the same in 64 bits
IN_DS64 = 0xFFFF_FFFF  # the size is in the chunk ds64
CONVERT = "convert it by `visavis-server convert-audio`"


class WavError(InputError):
    """Missing, damaged or unsupported WAV file."""


@dataclass(frozen=True)
class WavHeader:
    """Format and place of the samples of a WAV file."""

    tag: int  # of the format
    channels: int
    rate: int  # Hz
    block: int  # bytes of one sample of all channels
    bits: int  # that one sample of one channel occupies
    offset: int  # bytes before the samples
    stated: int  # bytes of samples by the header; those in the file if it does not tell
    present: int  # bytes in the file from `offset` on
    follower: int | None  # position of a WAV file that was appended to this one
    split: bool  # more samples follow in further chunks

    @property
    def pcm(self) -> str | None:
        """Name of the sample format, a value of PCM; None for compressed audio."""
        fits = self.channels and self.block == self.channels * self.bits // 8
        return PCM.get((self.tag, self.bits)) if fits else None

    @property
    def truncated(self) -> bool:
        """Check if samples are missing at the end of the file."""
        return self.stated > self.present

    @property
    def samples(self) -> int:
        """Number of whole samples in the file, for PCM."""
        return min(self.stated, self.present) // self.block


def read_wav_header(file: BinaryIO) -> WavHeader:
    """Read the header of a WAV file.

    Raises: WavError: when it is damaged or the file is of another format.
    """
    riff, _, wave = struct.unpack("<4sI4s", _exactly(file, 12))
    if riff not in RIFF or wave != b"WAVE":
        raise WavError(f"not a WAV file; {CONVERT}")
    form, large = b"", 0
    for _ in range(CHUNKS):
        name, size = struct.unpack("<4sI", _exactly(file, 8))
        content = file.tell()
        if name == b"data":
            return _header(file, form, size, large if riff != b"RIFF" else None)
        if name == b"fmt ":
            form = _exactly(file, min(size, 40))
        elif name == b"ds64" and size >= 16:
            _, large = struct.unpack("<QQ", _exactly(file, 16))
        file.seek(content + size + size % 2)
    raise WavError(f"damaged, more than {CHUNKS} chunks precede the samples; copy it again")


def _header(file: BinaryIO, form: bytes, size: int, large: int | None) -> WavHeader:
    """large: size of the samples in the chunk ds64, if the file may have one."""
    if len(form) < 16:
        raise WavError("damaged, the format of the samples is missing; copy it again")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack("<H", form[24:26])
    offset = file.tell()
    present = file.seek(0, 2) - offset
    if large is not None and size == IN_DS64:
        size, streamed = large, large == 0 or large >= STREAMED_LARGE
    else:
        streamed = size == 0 or size >= STREAMED
    if streamed:
        size = present if size in (0, IN_DS64) else min(size, present)
    follower, split = None, False
    if size < present:
        follower, split = _rest(file, offset + size + size % 2)
    return WavHeader(tag, channels, rate, block, bits, offset, size, present, follower, split)


def _rest(file: BinaryIO, at: int) -> tuple[int | None, bool]:
    """Search the chunks after the samples: position of another file, and whether samples follow."""
    split = False
    for _ in range(CHUNKS):
        file.seek(at)
        head = file.read(12)
        if len(head) < 12:
            break
        if head[:4] in RIFF and head[8:] == b"WAVE":
            return at, split
        split = split or head[:4] == b"data"
        size = int.from_bytes(head[4:8], "little")
        at += 8 + size + size % 2
    return None, split


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise WavError("truncated or not a WAV file; copy it again")
    return content


def float_header(channels: int, rate: int, samples: int) -> bytes:
    """Return the header of a file of 32-bit floats: RF64 where 32 bits cannot hold its size."""
    block = 4 * channels
    size = samples * block
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, FLOATS, channels, rate, rate * block, block, 32)
    if size < STREAMED:
        return (
            b"RIFF"
            + struct.pack("<I", 4 + len(form) + 8 + size)
            + b"WAVE"
            + form
            + struct.pack("<4sI", b"data", size)
        )
    large = struct.pack("<4sIQQQI", b"ds64", 28, 4 + 36 + len(form) + 8 + size, size, samples, 0)
    return (
        b"RF64"
        + struct.pack("<I4s", IN_DS64, b"WAVE")
        + large
        + form
        + struct.pack("<4sI", b"data", IN_DS64)
    )
