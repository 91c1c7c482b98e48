"""Detection of the watermark in files: videos, pictures, sound, and zips of pictures with sound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO
from zipfile import BadZipFile, ZipFile

import numpy as np

from contracts.provenance import WatermarkFinding
from models.watermark.code import MOST_CHANCE, decide
from models.watermark.picture import ANY, CUT, WHOLE, find, flattened, picture_lines
from models.watermark.sound import READ_RATE, find_sound, sound_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.watermark.code import KeyedLines, Scores
    from models.watermark.picture import Reading
    from models.watermark.sound import SoundReading

    Plane = NDArray[np.uint8]
    Samples = NDArray[np.float32]

PIECE_SECONDS = 2.0
MOST_SECONDS = 60.0  # of a file that are read
PICTURES = 15  # of a piece
MOST_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class Piece:
    """Pictures of about two seconds, as brightness [H, W]."""

    planes: tuple[Plane, ...]


@dataclass(frozen=True)
class Media:
    """Pictures and sound of a file."""

    pieces: tuple[Piece, ...] = ()
    sound: Samples = field(default_factory=lambda: np.zeros(0, np.float32))  # mono, 16 kHz


@dataclass(frozen=True)
class Found:
    """Watermark under one key."""

    chance: float = 1.0  # that a file without it scores as high
    id: int | None = None
    symbols: Scores | None = None  # of all readings that are sure, as those of one

    @property
    def sure(self) -> bool:
        return self.chance <= MOST_CHANCE


def detect(path: Path, keys: Iterable[bytes], known: Sequence[int] = ()) -> WatermarkFinding:
    """Search the watermark of each key in a file; other than media files have none.

    known: ids that are recognised even where their check cannot be read.
    """
    return detect_media(read_media(path), keys, known)


def detect_media(
    media: Media, keys: Iterable[bytes], known: Sequence[int] = ()
) -> WatermarkFinding:
    """Search the watermark of each key in pictures and sound."""
    best = WatermarkFinding(found=False)
    for key in keys:
        picture = in_pictures(media.pieces, picture_lines(key), known)
        sound = in_sound(media.sound, sound_lines(key), known)
        finding = _finding(key, picture, sound, known)
        if finding.found or finding.certainty > best.certainty:
            best = finding
        if best.found:
            break
    return best


def in_pictures(pieces: Sequence[Piece], keyed: KeyedLines, known: Sequence[int] = ()) -> Found:
    """Search all pieces for frames that were scaled or cut, then the first one for parts."""
    flat = [flattened(piece.planes) for piece in pieces]
    found = Found()
    for tiles in (WHOLE, CUT, ANY):
        parts = flat[:1] if tiles is ANY else flat
        found = _best(found, (find(each, keyed, tiles) for each in parts), len(flat), keyed, known)
        if found.sure:
            break
    return found


def in_sound(sound: Samples, keyed: KeyedLines, known: Sequence[int] = ()) -> Found:
    """Search the sound as a whole, then in pieces, which may have been moved."""
    size = int(PIECE_SECONDS * READ_RATE)
    parts = [sound, *(sound[start : start + size] for start in range(0, len(sound), size))]
    readings = (
        find_sound(part, keyed)
        for part in (parts if len(parts) > 2 else parts[:1])
        if len(part) >= READ_RATE and part.any()
    )
    return _best(Found(), readings, len(parts), keyed, known)


def _best(
    found: Found,
    readings: Iterable[Reading | SoundReading],
    trials: int,
    keyed: KeyedLines,
    known: Sequence[int],
) -> Found:
    """Return the best of `found` and some readings; the first one with an id ends the search."""
    sums: list[Scores] = []
    for reading in readings:
        chance = min(1.0, trials * reading.chance)
        found = replace(found, chance=min(found.chance, chance))
        if chance > MOST_CHANCE:
            continue
        sums.append(keyed.symbols(reading.lines))
        symbols = np.asarray(np.sum(sums, axis=0) / np.sqrt(len(sums)))
        mark_id = decide(keyed.key, sums[-1], known)
        if mark_id is None:
            mark_id = decide(keyed.key, symbols, known)
        found = replace(found, id=mark_id, symbols=symbols)
        if mark_id is not None:
            break
    return found


def read_media(path: Path) -> Media:
    """Read the first minute of a file; no pictures and no sound when it cannot be decoded."""
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return _of_zip(file)
            return Media(tuple(_pieces(file)), _sound(file))
    except (OSError, ValueError, BadZipFile):  # errors of av are OSError or ValueError
        return Media()


def _finding(key: bytes, pictures: Found, sound: Found, known: Sequence[int]) -> WatermarkFinding:
    """Return what both say; an id that neither shows alone may be in both together."""
    found = {"picture": pictures, "sound": sound}
    ids = [each.id for each in found.values() if each.id is not None]
    if not ids and pictures.symbols is not None and sound.symbols is not None:
        both = decide(key, (pictures.symbols + sound.symbols) / np.sqrt(2), known)
        ids = [] if both is None else [both]
    return WatermarkFinding(
        found=any(each.sure for each in found.values()),
        certainty=1.0 - min(each.chance for each in found.values()),
        id=f"{ids[0]:016x}" if ids else None,
        where=tuple(name for name, each in found.items() if each.sure),
    )


def _pieces(file: BinaryIO) -> Iterator[Piece]:
    """Yield some pictures of each two seconds, as far as the file can be decoded."""
    import av

    file.seek(0)
    with av.open(file, "r", metadata_errors="ignore") as container:
        if not container.streams.video:
            return
        stream = container.streams.video[0]
        if stream.width * stream.height > MOST_PIXELS:
            return
        rate = float(stream.average_rate or 30)
        step = max(1, round(rate * PIECE_SECONDS / PICTURES))
        frames = islice(container.decode(stream), 0, int(rate * MOST_SECONDS) + 1, step)
        planes: list[Plane] = []
        try:
            for frame in frames:
                plane = np.asarray(frame.to_ndarray(format="gray"), np.uint8)
                if planes and planes[0].shape != plane.shape:
                    break
                planes.append(plane)
                if len(planes) == PICTURES:
                    yield Piece(tuple(planes))
                    planes = []
        except (OSError, ValueError):
            pass  # the file is cut off
        if planes:
            yield Piece(tuple(planes))


def _sound(file: BinaryIO) -> Samples:
    """Return the sound of a file as the mean of its channels, as far as it can be decoded."""
    import av

    file.seek(0)
    blocks: list[Samples] = []
    with av.open(file, "r", metadata_errors="ignore") as container:
        if container.streams.audio:
            resampler = av.AudioResampler("fltp", rate=READ_RATE)
            count = 0
            try:
                for frame in container.decode(container.streams.audio[0]):
                    for part in resampler.resample(frame):
                        blocks.append(part.to_ndarray().mean(0, dtype=np.float32))
                        count += len(blocks[-1])
                    if count > MOST_SECONDS * READ_RATE:
                        break
            except (OSError, ValueError):
                pass  # the file is cut off
    return np.nan_to_num(np.concatenate(blocks)) if blocks else np.zeros(0, np.float32)


def _of_zip(file: BinaryIO) -> Media:
    """Return pictures and sound of a zip that the output `png` has written."""
    from io import BytesIO

    with ZipFile(file) as archive:
        names = [each.filename for each in archive.infolist() if each.file_size < 1 << 28]
        pictures = [name for name in names if name.endswith(".png")][:PICTURES]
        planes = [
            plane
            for name in pictures
            for piece in _pieces(BytesIO(archive.read(name)))
            for plane in piece.planes
        ]
        sounds = [name for name in names if name.endswith(".wav")][:1]
        sound = [_sound(BytesIO(archive.read(name))) for name in sounds]
    same = tuple(plane for plane in planes if plane.shape == planes[0].shape)
    pieces = (Piece(same),) if same else ()
    return Media(pieces, *sound)
