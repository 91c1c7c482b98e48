"""File formats of clips: recognised by their content, opened with fixed demuxers and decoders."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

from contracts.wav import WavError, read_wav_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from contracts.wav import WavHeader

STREAMS = 16  # in one file
BOXES = 100_000  # of a movie
SECTIONS = 1000  # joined recordings in one file
HEAD_BYTES = 64
FARTHEST = 1 << 40  # position in a file; file systems refuse to seek much farther
CHUNKS = 1000  # of a w64 or caf before its audio
JUNK_BYTES = 1 << 20  # before the first frame of an MP3 or AAC file
CHAIN = 3  # successive frame headers that make a stream of MP3 or AAC frames
ID3_TAGS = 8  # before the audio
EBML = b"\x1a\x45\xdf\xa3"
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
FIRST_BYTES = {  # of a recording that was appended to another
    "webm": re.compile(rb"\x1a\x45\xdf\xa3.{1,50}?(?:webm|matroska)", re.DOTALL),
    "flac": re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),
    "aiff": re.compile(rb"FORM....AIF[FC]", re.DOTALL),
    "caf": re.compile(rb"caff\x00\x01\x00\x00desc"),
    "w64": re.compile(re.escape(W64)),
    "wma": re.compile(re.escape(ASF)),
    "amr": re.compile(rb"#!AMR(?:-WB)?\n"),
}
# A tag, or a frame that contains the length of the file.
MP3_BEGINNING = re.compile(
    rb"ID3[\x02-\x04].{6}|\xff[\xe2-\xff].{2}(?:.{9}|.{17}|.{32})(?:..)?(?:Xing|Info)", re.DOTALL
)
MOVIE_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


class MediaError(ValueError):
    """The file is not an acceptable clip: `code` for programs, `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class MediaLimits:
    """Limits of a clip and of its probe."""

    min_seconds: float = 0.1
    max_seconds: float = 600.0
    max_channels: int = 2
    min_sample_rate: int = 4_000
    max_sample_rate: int = 192_000
    wall_seconds: float = 20.0  # and a second for each minute of `max_seconds`
    cpu_seconds: int = 15  # and half a second
    memory_bytes: int = 1 << 30  # of address space; the libraries alone map 300 MB

    @property
    def probe_wall_seconds(self) -> float:
        """Wall clock of a probe."""
        return self.wall_seconds + self.max_seconds / 60

    @property
    def probe_cpu_seconds(self) -> int:
        """CPU time of a probe."""
        return self.cpu_seconds + round(self.max_seconds / 120)


@dataclass(frozen=True)
class Container:
    """A file format: its demuxer in FFmpeg and the accepted decoders.

    timed: its packets have timestamps, so that pauses without packets keep their length.
    measured: its header contains the exact number of samples of a complete file.
    """

    demuxer: str
    codecs: frozenset[str]
    timed: bool = False
    measured: bool = False


INTEGER_PCM = frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le"})
LITTLE_PCM = INTEGER_PCM | {"pcm_f32le", "pcm_f64le"}
BIG_PCM = frozenset({"pcm_s8", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be"})
TELEPHONE = frozenset({"pcm_alaw", "pcm_mulaw", "gsm", "gsm_ms", "g722", "amrnb", "amrwb"})
ADPCM = frozenset({"adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt"})
MP3 = frozenset({"mp3", "mp3float"})
WMA = frozenset({"wmav1", "wmav2", "wmapro", "wmavoice", "wmalossless"})
MODERN = frozenset({"aac", "alac", "flac", "opus", "vorbis"})
ANY = LITTLE_PCM | BIG_PCM | TELEPHONE | ADPCM | MP3 | MODERN
WAV = LITTLE_PCM | TELEPHONE | ADPCM | MP3
CONTAINERS: Mapping[str, Container] = {
    "wav": Container("wav", WAV, measured=True),
    "w64": Container("w64", WAV, measured=True),
    "aiff": Container("aiff", LITTLE_PCM | BIG_PCM | TELEPHONE | ADPCM, measured=True),
    "caf": Container("caf", ANY, measured=True),
    "flac": Container("flac", frozenset({"flac"}), measured=True),
    "mp3": Container("mp3", MP3),
    "aac": Container("aac", frozenset({"aac"})),
    "amr": Container("amr", frozenset({"amrnb", "amrwb"})),
    "ogg": Container("ogg", frozenset({"vorbis", "opus", "flac"}), timed=True),
    "m4a": Container("mov", ANY, timed=True, measured=True),
    "webm": Container("matroska", ANY | WMA, timed=True),
    "wma": Container("asf", WMA | MP3 | LITTLE_PCM, timed=True),
}
ACCEPTED = (
    "wav (PCM, ADPCM, GSM, G.722 or MP3), w64, aiff, caf, flac, mp3, aac, ogg (Vorbis, Opus or "
    "FLAC), m4a, mp4, mov or 3gp (AAC, ALAC, AMR or PCM), webm or mkv, amr, or wma"
)


def sniff(file: BinaryIO) -> tuple[str, int]:
    """Return the file format, a key of CONTAINERS, and the position where its audio begins.

    Raises: MediaError: when the file is empty or the format is not accepted.
    """
    head = _at(file, 0)
    if not head:
        raise MediaError("audio_empty", "the audio file is empty; send a recording")
    if (kind := _magic(head)) is not None:
        return kind, 0
    start = _after_id3(file)
    head = _at(file, start)
    if head[:4] == b"fLaC":
        return "flac", start
    if start and not _frame_header(head):
        return _first_frame(file, start) or ("mp3", 0)  # the demuxer checks what follows the tag
    if found := _frame_header(head):
        return found[0], 0
    if found_frame := _first_frame(file, 0):
        return found_frame
    raise MediaError(
        "audio_type_unsupported", f"the file has no supported audio format; send {ACCEPTED}"
    )


def _magic(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in MOVIE_BOXES:
        return "m4a"
    starts = {
        W64: "w64", b"caff": "caf", b"fLaC": "flac", b"OggS": "ogg", EBML: "webm", ASF: "wma",
        b"#!AMR\n": "amr", b"#!AMR-WB\n": "amr",
    }  # fmt: skip
    return next((kind for start, kind in starts.items() if head.startswith(start)), None)


def _at(file: BinaryIO, position: int, count: int = HEAD_BYTES) -> bytes:
    if position >= FARTHEST:
        return b""
    file.seek(position)
    return file.read(count)


def _after_id3(file: BinaryIO, start: int = 0) -> int:
    """Return the position after the ID3 tags that begin at `start`."""
    head = _at(file, start)
    for _ in range(ID3_TAGS):
        if head[:3] != b"ID3" or len(head) < 10:
            break
        size = 0
        for byte in head[6:10]:  # seven bits each
            size = size << 7 | byte & 0x7F
        start += 10 + size + (10 if head[5] & 0x10 else 0)  # the last part is a footer
        head = _at(file, start)
    return start


def _first_frame(file: BinaryIO, start: int) -> tuple[str, int] | None:
    """Search for a chain of MP3 or AAC frames behind zeros, half a frame or other junk."""
    data = _at(file, start, JUNK_BYTES)
    at = data.find(b"\xff")
    while at >= 0:
        kind, position, form = None, at, b""
        for _ in range(CHAIN):
            head = data[position : position + 8]
            header = _frame_header(head)
            # Version, layer and rate stay the same; in other audio they change at random.
            if header is None or (kind is not None and (header[0], _form(head)) != (kind, form)):
                break
            kind, position, form = header[0], position + header[1], _form(head)
        else:
            assert kind is not None
            return kind, start + at
        at = data.find(b"\xff", at + 1)
    return None


def _form(head: bytes) -> bytes:
    """Return version, layer and rate of a frame header of MP3 or ADTS."""
    return bytes((head[1], head[2] & (0x3C if head[1] & 0x06 == 0 else 0x0C)))


def _frame_header(head: bytes) -> tuple[str, int] | None:
    """Return the kind and size of the MP3 or ADTS frame that begins here."""
    if len(head) < 7 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:  # ADTS: twelve bits set, layer 0
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return ("aac", size) if size > 7 and head[2] >> 2 & 15 < 13 else None
    if head[1] & 0xE6 != 0xE2 or head[2] & 0xF0 == 0xF0 or head[2] & 0x0C == 0x0C:
        return None  # MP3: eleven bits set, layer III, a valid rate
    version = head[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    if version == 1:
        return None
    rates = BIT_RATES_1 if version == 3 else BIT_RATES_2
    bits = rates[head[2] >> 4] * 1000
    rate = (44_100, 48_000, 32_000)[head[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    size = (144 if version == 3 else 72) * bits // rate + (head[2] >> 1 & 1)
    return "mp3", size if bits else 1 << 30  # of free format: the size is unknown


BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


class FileSection(io.RawIOBase):
    """Bytes `start` to `end` of a file, as a file without a name."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        self._file = path.open("rb")
        self._start, self._size = start, end - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        rest = self._size - self._at
        if rest <= 0:  # also for a position that no file can have
            return b""
        self._file.seek(self._start + self._at)
        content = self._file.read(rest if size < 0 else min(size, rest))
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("position before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()
        super().close()


def wav_header(file: BinaryIO) -> WavHeader | None:
    """Return the header of a WAV file; None if only FFmpeg may be able to read it."""
    file.seek(0)
    try:
        return read_wav_header(file)
    except WavError:
        return None


def demuxer_options(kind: str, demuxer: str) -> dict[str, str]:
    """Return FFmpeg options for a format: no pictures are decoded, no other files are opened."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join(sorted(CONTAINERS[kind].codecs)),
        "max_streams": str(STREAMS),
    }


def sections(path: Path, kind: str, start: int) -> list[tuple[int, int]]:
    """Return the bytes (start, end) of each recording in a file of joined recordings.

    Ogg files may be chained, and files of other formats are joined by appending one to another.
    A later recording may have another rate and other channels.

    Raises: MediaError: when there are too many.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind == "ogg":
            later = _ogg_chains(file)
        elif kind == "wav":
            later = _wav_files(path, size)
        elif kind == "m4a":
            later = _movies(file, size)
        elif kind == "mp3":
            later = _mp3_files(file, size)
        else:
            later = (at for at, _ in _matches(file, size, FIRST_BYTES.get(kind)))
        starts = [start, *islice((at for at in later if at > start), SECTIONS)]
    if len(starts) > SECTIONS:
        raise MediaError(
            "audio_damaged", f"the file has more than {SECTIONS} joined recordings; export it again"
        )
    return list(zip(starts, [*starts[1:], size], strict=True))


def _matches(
    file: BinaryIO, size: int, pattern: re.Pattern[bytes] | None
) -> Iterator[tuple[int, bytes]]:
    """Yield position and text of each match of a pattern of HEAD_BYTES at most."""
    step, at = 1 << 20, 0
    while pattern is not None and at < size:
        for match in pattern.finditer(_at(file, at, step + HEAD_BYTES)):
            if match.start() < step:
                yield at + match.start(), match.group()
        at += step


def _wav_files(path: Path, size: int) -> Iterator[int]:
    at: int | None = 0
    while at is not None:
        yield at
        with FileSection(path, at, size) as file:
            header = wav_header(cast("BinaryIO", file))
        follower = header.follower if header is not None else None
        at = None if follower is None else at + follower


def _movies(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the position of each box `ftyp` after an index."""
    indexed, at = False, 0
    for name, _, end in boxes(file, 0, size):
        if indexed and name == b"ftyp":
            yield at
        indexed = name == b"moov" or (indexed and name != b"ftyp")
        at = end


def boxes(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the content of each box of a movie."""
    at = start
    for _ in range(BOXES):
        if at >= stop or len(head := _at(file, at, 16)) < 8:
            break
        length, name = struct.unpack(">I4s", head[:8])
        content = at + 8
        if length == 1 and len(head) == 16:
            (length,), content = struct.unpack(">Q", head[8:]), at + 16
        elif length == 0:
            length = stop - at  # the last one
        if length < content - at:
            break
        yield name, content, at + length
        at += length


def _mp3_files(file: BinaryIO, size: int) -> Iterator[int]:
    """Yield the position of each MP3 file: a frame with its length, with the tag before it."""
    tags: dict[int, int] = {}  # positions by end
    music = _after_id3(file)
    for at, match in _matches(file, size, MP3_BEGINNING):
        if match.startswith(b"ID3"):
            tags.setdefault(_after_id3(file, at), at)
        elif at > music and _frame_header(match):
            yield tags.get(at, at)


def _ogg_chains(file: BinaryIO) -> Iterator[int]:
    """Yield the position of each first page of a group of streams."""
    at, beginning = 0, False
    for at, flags in _ogg_pages(file):
        begins = bool(flags & 2)
        if begins and not beginning:
            yield at
        beginning = begins


def _ogg_pages(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield position and flags of each page."""
    at = 0
    while len(head := _at(file, at, 27)) == 27:
        if head[:4] == b"OggS":
            yield at, head[5]
            at += 27 + head[26] + sum(file.read(head[26]))
            continue
        block = _at(file, at + 1, 1 << 16)
        found = block.find(b"OggS")
        at += 1 + (found if found >= 0 else max(1, len(block) - 3))


def short_vorbis(path: Path, section: tuple[int, int]) -> bool:
    """Check if each stream of an Ogg file has all of its audio in one page.

    FFmpeg counts the first packet of such a Vorbis stream, which contains no audio, and keeps the
    padding at its end.
    """
    serials = []
    with FileSection(path, *section) as file:
        for at, _ in _ogg_pages(cast("BinaryIO", file)):
            _, granule, serial = struct.unpack("<6sqI", _at(cast("BinaryIO", file), at, 18))
            if granule > 0:
                serials.append(serial)
                if len(serials) > len(set(serials)):
                    return False
    return bool(serials)


def cut_off(path: Path, kind: str, section: tuple[int, int]) -> bool:
    """Check if a recording ends before the end that its own structure states."""
    size = section[1] - section[0]
    with FileSection(path, *section) as raw:
        file = cast("BinaryIO", raw)
        if kind == "wav":
            header = wav_header(file)
            return header is not None and header.truncated
        if kind == "w64":
            return _w64_end(file) > size
        if kind == "caf":
            return _caf_end(file) > size
        if kind == "webm":
            return _segment_end(file) > size
        if kind == "ogg":
            *_, last = [0, *(at for at, _ in _ogg_pages(file))]
            head = _at(file, last, 27)
            table = file.read(head[26]) if len(head) == 27 else b""
            return last + 27 + len(table) + sum(table) > size
    return False


def _w64_end(file: BinaryIO) -> int:
    at = 40
    for _ in range(CHUNKS):
        if len(head := _at(file, at, 24)) < 24:
            break
        name, length = struct.unpack("<16sQ", head)
        if name == W64_DATA:
            return int(at + length)
        at += max(24, length + -length % 8)
    return 0


def _segment_end(file: BinaryIO) -> int:
    """Return the end of a segment of Matroska; 0 if it was streamed without a size."""
    at = 4
    for _ in range(2):  # the EBML header and the segment, after their names of four bytes
        head = _at(file, at, 8)
        count = 9 - head[0].bit_length() if head and head[0] else 9
        if count > len(head):
            break
        largest = (1 << 7 * count) - 1
        length = int.from_bytes(head[:count], "big") & largest
        at += count + (length if length < largest else 0)
        if length == largest:
            break
        at += 4
    else:
        return at - 4
    return 0


def _caf_end(file: BinaryIO) -> int:
    at = 8
    for _ in range(CHUNKS):
        if len(head := _at(file, at, 12)) < 12:
            break
        name, length = struct.unpack(">4sq", head)
        if name == b"data":
            return int(at + 12 + length)
        at += 12 + max(0, length)
    return 0
