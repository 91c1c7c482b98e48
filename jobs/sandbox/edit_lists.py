"""Edit lists of movies: the parts of a track that are played, in their order.

FFmpeg applies a list only if it has one part, and to whole packets otherwise. So the tracks of a
movie with edit lists are decoded as they are stored, and the parts are taken from the samples.
All positions are samples at 48 kHz.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.sandbox.audio_formats import boxes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    Chunk = tuple[int, bytes]  # channels, and interleaved float32

SAMPLE_RATE = 48_000
SAMPLE_BYTES = 4  # of one channel
EDITS = 10_000  # of a track
EMPTY = -1  # media time of silence
NORMAL_SPEED = 1 << 16


@dataclass(frozen=True)
class Edit:
    """A part of a track, or silence."""

    start: int | None  # None: silence
    samples: int | None  # None: to the end of the track


def edit_lists(file: BinaryIO) -> list[list[Edit]]:
    """Return the edits of each audio track of a movie; none where it has no list or an odd one."""
    end = file.seek(0, 2)
    for name, start, stop in boxes(file, 0, end):
        if name == b"moov":
            return _movie(file, start, stop)
    return []


def _movie(file: BinaryIO, start: int, stop: int) -> list[list[Edit]]:
    scale, tracks = 0, []
    for name, at, end in boxes(file, start, stop):
        if name == b"mvhd":
            scale, _ = _times(_content(file, at, end))
        elif name == b"trak":
            track = dict(_track(file, at, end))
            if track.get(b"hdlr", b"")[8:12] == b"soun":
                tracks.append(track)
    return [_edits(track.get(b"elst", b""), scale, track.get(b"mdhd", b"")) for track in tracks]


def _track(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the boxes that matter."""
    for name, at, end in boxes(file, start, stop):
        if name in (b"edts", b"mdia"):
            yield from _track(file, at, end)
        elif name in (b"elst", b"mdhd", b"hdlr"):
            yield name, _content(file, at, end)


def _content(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(min(stop - start, 8 + 20 * EDITS))


def _times(header: bytes) -> tuple[int, int]:
    """Return time scale and duration of a movie or track header; 0 where they are missing."""
    form, at = (">IQ", 20) if header[:1] == b"\x01" else (">II", 12)
    if len(header) < at + struct.calcsize(form):
        return 0, 0
    scale, duration = struct.unpack_from(form, header, at)
    return scale, duration


def _edits(content: bytes, movie_scale: int, media_header: bytes) -> list[Edit]:
    scale, duration = _times(media_header)
    if len(content) < 8 or not scale or not movie_scale:
        return []
    (count,) = struct.unpack_from(">I", content, 4)
    form = ">Qqi" if content[:1] == b"\x01" else ">Iii"
    size = count * struct.calcsize(form)
    if count > EDITS or len(content) < 8 + size:
        return []
    media_end = _scaled(duration, scale)
    tick = _scaled(1, movie_scale) + 1
    edits, ticks = [], 0
    for length, start, rate in struct.iter_unpack(form, content[8 : 8 + size]):
        if rate != NORMAL_SPEED or start < EMPTY:
            return []
        samples = _scaled(ticks + length, movie_scale) - _scaled(ticks, movie_scale)
        ticks += length
        if start == EMPTY:
            edits.append(Edit(None, samples))
            continue
        first = _scaled(start, scale)
        # A movie counts in coarser ticks than its track, so that the end is rounded.
        rest = not length or abs(first + samples - media_end) <= tick
        edits.append(Edit(first, None if rest else samples))
    return edits


def _scaled(ticks: int, scale: int) -> int:
    return (2 * SAMPLE_RATE * ticks + scale) // (2 * scale)


def ascending(edits: Sequence[Edit]) -> list[list[Edit]]:
    """Split edits where one begins before the end of the one before."""
    passes: list[list[Edit]] = [[]]
    position = 0
    for edit in edits:
        if edit.start is not None:
            if edit.start < position:
                passes.append([])
            position = edit.start + (edit.samples or 0)
        passes[-1].append(edit)
    return passes


def parts(chunks: Iterator[Chunk], edits: Sequence[Edit], *, final: bool) -> Iterator[Chunk]:
    """Yield the parts of gapless chunks that ascending edits select.

    A part beyond the end of the track is silence, unless it is the last one of the `final` edits.
    """
    at, channels, held = 0, 1, b""
    for edit in edits:
        missing = edit.samples
        if edit.start is None:
            yield from silence(missing or 0)
            continue
        start = edit.start
        while missing is None or missing > 0:
            if not held:
                channels, held = next(chunks, (0, b""))
                if not channels:
                    break
            size = channels * SAMPLE_BYTES
            count = len(held) // size
            first = max(0, start - at)
            last = count if missing is None else min(count, first + missing)
            if last > first:
                yield channels, held[first * size : last * size]
                missing = None if missing is None else missing - (last - first)
            kept = min(count, max(first, last))
            held, at = held[kept * size :], at + kept
        if missing and not (final and edit is edits[-1]):
            yield from silence(missing)


def silence(samples: int) -> Iterator[Chunk]:
    """Yield mono silence in chunks of a second at most."""
    for start in range(0, samples, SAMPLE_RATE):
        yield 1, bytes(min(SAMPLE_RATE, samples - start) * SAMPLE_BYTES)
