"""WAV files: supported sample formats, and errors for other files."""

import struct
from pathlib import Path

import numpy as np
import pytest

from models.formats.wav import WavError, open_wav

SAMPLES = np.array([[0.0, -1.0], [0.5, 0.25], [-0.75, 0.125]], np.float32)


def format_chunk(kind: int, bits: int, channels: int = 2, *, extensible: bool = False) -> bytes:
    block = channels * bits // 8
    chunk = struct.pack("<HHIIHH", kind, channels, 48_000, 48_000 * block, block, bits)
    if not extensible:
        return chunk
    return b"\xfe\xff" + chunk[2:] + struct.pack("<HHIH14x", 22, bits, 3, kind)


def write(path: Path, chunk: bytes, content: bytes, *, size: int | None = None) -> Path:
    """Write a WAV file with an unknown chunk of odd length before the samples."""
    chunks = b"".join(
        (
            b"fmt " + struct.pack("<I", len(chunk)) + chunk,
            b"LIST" + struct.pack("<I", 3) + b"abc\0",
            b"data" + struct.pack("<I", len(content) if size is None else size) + content,
        )
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def of_24_bit(samples: np.ndarray) -> bytes:
    return b"".join(
        int(value * (1 << 23)).to_bytes(3, "little", signed=True) for value in samples.ravel()
    )


@pytest.mark.parametrize(
    ("kind", "bits", "content"),
    [
        (1, 16, (SAMPLES * 32768).astype("<i2").tobytes()),
        (1, 24, of_24_bit(SAMPLES)),
        (1, 32, (SAMPLES.astype(np.float64) * 2**31).astype("<i4").tobytes()),
        (3, 32, SAMPLES.tobytes()),
        (3, 64, SAMPLES.astype("<f8").tobytes()),
    ],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_samples_of_each_format_are_read(
    tmp_path: Path, kind: int, bits: int, content: bytes, extensible: bool
) -> None:
    chunk = format_chunk(kind, bits, extensible=extensible)
    file = open_wav(write(tmp_path / "a.wav", chunk, content))
    assert (len(file), file.channels, file.rate, file.bits) == (3, 2, 48_000, bits)
    assert isinstance(file.raw, np.memmap)
    np.testing.assert_array_equal(file.read(), SAMPLES)
    np.testing.assert_array_equal(file.read(1, 2), SAMPLES[1:2])
    assert file.read().dtype == np.float32


def test_the_length_of_a_file_written_to_a_pipe_is_its_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", format_chunk(3, 32), SAMPLES.tobytes(), size=0xFFFF_FFFF)
    np.testing.assert_array_equal(open_wav(path).read(), SAMPLES)


def test_a_file_without_samples_is_empty(tmp_path: Path) -> None:
    assert open_wav(write(tmp_path / "a.wav", format_chunk(1, 16), b"")).read().shape == (0, 2)


@pytest.mark.parametrize(
    ("chunk", "content", "size", "message"),
    [
        (format_chunk(1, 16), b"1234", 400, "truncated, 4 of 400 bytes"),
        (format_chunk(1, 8), b"1234", None, "2 channels of 8 bit, format tag 1"),
        (format_chunk(85, 16), b"1234", None, "16 bit, format tag 85"),
        (b"too short.", b"1234", None, "the format of the samples is missing"),
    ],
)
def test_unsupported_and_damaged_files_are_refused(
    tmp_path: Path, chunk: bytes, content: bytes, size: int | None, message: str
) -> None:
    path = write(tmp_path / "a.wav", chunk, content, size=size)
    with pytest.raises(WavError, match=message) as caught:
        open_wav(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot be read \(No such file"),
        (b"", "truncated or not a WAV file"),
        (b"ID3" * 9, "not a WAV file"),
    ],
)
def test_files_of_other_formats_are_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WavError, match=message):
        open_wav(path)
