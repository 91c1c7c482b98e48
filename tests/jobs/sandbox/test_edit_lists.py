"""Edit lists of movies: parts in any order, silence between them, and lists that are odd."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_reader import ClipReader
from jobs.sandbox.edit_lists import EDITS, edit_lists
from tests.malicious_files import encoded

NOISE = "anoisesrc=r=48000:d=3:seed=1:a=0.5"
Parts = list[tuple[int, int]]  # milliseconds, and start in samples or -1 for silence


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three seconds of noise without loss; packets of 4096 samples."""
    return encoded(tmp_path_factory.mktemp("movie") / "a.m4a", NOISE, 3.0, "-c:a", "alac")


def edited(movie: bytes, parts: Parts, *, version: int = 0, rate: int = 1 << 16) -> bytes:
    """Replace the edit list of a movie whose index is at its end."""
    at = movie.index(b"mvhd") + 16
    (scale,) = struct.unpack(">I", movie[at : at + 4])
    form = ">QqI" if version else ">IiI"
    entries = [struct.pack(form, length * scale // 1000, start, rate) for length, start in parts]
    content = struct.pack(">BxxxI", version, len(parts)) + b"".join(entries)
    result = bytearray(movie)
    start = movie.index(b"elst") - 4
    (size,) = struct.unpack(">I", movie[start : start + 4])
    result[start : start + size] = struct.pack(">I4s", 8 + len(content), b"elst") + content
    for name in (b"moov", b"trak", b"edts"):
        box = movie.rindex(name, 0, start) - 4
        (old,) = struct.unpack(">I", movie[box : box + 4])
        result[box : box + 4] = struct.pack(">I", old + 8 + len(content) - size)
    return bytes(result)


def read(content: bytes, path: Path) -> tuple[np.ndarray, list[str]]:
    path.write_bytes(content)
    reader = ClipReader(path, MediaLimits(min_seconds=0.0))
    samples = np.frombuffer(b"".join(reader.stereo()), np.float32).reshape(-1, 2)
    return samples[:, 0], [warning.code for warning in reader.warnings]


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    "parts",
    [
        [(1000, 72_000)],
        [(1000, 0), (1000, 96_001)],
        [(500, -1), (1000, 48_000)],
        [(1000, 0), (700, -1), (500, 100_000)],
        [(1000, 48_000), (1000, 48_000)],
        [(300, 96_000), (1000, 20_000), (500, 0), (100, -1)],
    ],
)
def test_parts_are_played_in_their_order(
    movie: bytes, parts: Parts, version: int, tmp_path: Path
) -> None:
    whole, _ = read(movie, tmp_path / "a.m4a")
    expected = [
        np.zeros(48 * length) if start < 0 else whole[start : start + 48 * length]
        for length, start in parts
    ]

    samples, warnings = read(edited(movie, parts, version=version), tmp_path / "a.m4a")

    np.testing.assert_array_equal(samples, np.concatenate(expected))
    assert warnings == []


def test_a_part_beyond_the_track_is_silence_before_another_part(
    movie: bytes, tmp_path: Path
) -> None:
    whole, _ = read(movie, tmp_path / "a.m4a")

    samples, _ = read(edited(movie, [(1000, 120_000), (100, 0)]), tmp_path / "a.m4a")

    assert len(samples) == 52_800
    np.testing.assert_array_equal(samples[:24_000], whole[120_000:])
    assert not samples[24_000:48_000].any()
    np.testing.assert_array_equal(samples[48_000:], whole[:4800])


def test_lists_that_are_odd_are_left_to_the_demuxer(movie: bytes) -> None:
    cut = movie[: movie.index(b"elst") + 12]
    for content in (
        edited(movie, [(1000, 0)], rate=2 << 16),
        edited(movie, [(1000, -5)]),
        edited(movie, [(1, 0)] * (EDITS + 1)),
        cut,
        movie.replace(b"mvhd", b"free"),
        movie.replace(b"mdhd", b"free"),
    ):
        assert edit_lists(io.BytesIO(content)) in ([], [[]])
    assert edit_lists(io.BytesIO(b"")) == []
    assert len(edit_lists(io.BytesIO(edited(movie, [(1, 0)] * EDITS)))[0]) == EDITS
