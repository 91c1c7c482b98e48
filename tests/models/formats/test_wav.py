"""Wave files, mapped: every kind that is read, and what is said of the others."""

import struct
from pathlib import Path

import numpy as np
import pytest

from models.formats.wav import WavError, open_wav

WAVE = np.array([[0.0, -1.0], [0.5, 0.25], [-0.75, 0.125]], np.float32)


def head(kind: int, bits: int, channels: int = 2, *, extensible: bool = False) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, 48_000, 48_000 * block, block, bits)
    if not extensible:
        return form
    return b"\xfe\xff" + form[2:] + struct.pack("<HHIH14x", 22, bits, 3, kind)


def write(path: Path, form: bytes, content: bytes, *, size: int | None = None) -> Path:
    """With a chunk of another program, of odd length, in between."""
    chunks = b"".join(
        (
            b"fmt " + struct.pack("<I", len(form)) + form,
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
        (1, 16, (WAVE * 32768).astype("<i2").tobytes()),
        (1, 24, of_24_bit(WAVE)),
        (1, 32, (WAVE.astype(np.float64) * 2**31).astype("<i4").tobytes()),
        (3, 32, WAVE.tobytes()),
        (3, 64, WAVE.astype("<f8").tobytes()),
    ],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_samples_come_back_whatever_they_are_kept_as(
    tmp_path: Path, kind: int, bits: int, content: bytes, extensible: bool
) -> None:
    form = head(kind, bits, extensible=extensible)
    found = open_wav(write(tmp_path / "a.wav", form, content))
    assert (len(found), found.channels, found.rate, found.bits) == (3, 2, 48_000, bits)
    assert isinstance(found.raw, np.memmap)
    np.testing.assert_array_equal(found.read(), WAVE)
    np.testing.assert_array_equal(found.read(1, 2), WAVE[1:2])
    assert found.read().dtype == np.float32


def test_a_file_that_was_written_into_a_pipe_is_as_long_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", head(3, 32), WAVE.tobytes(), size=0xFFFF_FFFF)
    np.testing.assert_array_equal(open_wav(path).read(), WAVE)


def test_a_file_without_a_sample_is_empty(tmp_path: Path) -> None:
    assert open_wav(write(tmp_path / "a.wav", head(1, 16), b"")).read().shape == (0, 2)


@pytest.mark.parametrize(
    ("form", "content", "size", "words"),
    [
        (head(1, 16), b"1234", 400, "cut off: it has 4 of 400 bytes"),
        (head(1, 8), b"1234", None, "2 channels of 8 bit in form 1"),
        (head(85, 16), b"1234", None, "16 bit in form 85"),
        (b"too short.", b"1234", None, "does not say what its samples are"),
    ],
)
def test_what_cannot_be_read_is_told(
    tmp_path: Path, form: bytes, content: bytes, size: int | None, words: str
) -> None:
    path = write(tmp_path / "a.wav", form, content, size=size)
    with pytest.raises(WavError, match=words) as caught:
        open_wav(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"", "cut off or no wave"), (b"ID3" * 9, "no wave")],
)
def test_what_is_no_wave_file_is_told(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WavError, match=words):
        open_wav(path)
