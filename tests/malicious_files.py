"""Malicious audio files, generated here, each with the outcomes that are correct for it."""

import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg

from tests.audio_clips import write_clip

ACCEPTED = "accepted"
DAMAGED = {"audio_damaged", "audio_empty", "audio_unreadable"}
UNSUPPORTED = {"audio_type_unsupported"}

Attack = tuple[bytes, set[str]]


def attacks(folder: Path) -> dict[str, Attack]:
    """Return every attack by name: the file, and the error codes (or ACCEPTED) correct for it.

    The codes assume a limit of five seconds per clip. Files with references to other files
    reference a named pipe without a writer, so a reader that opens it hangs.
    """
    pipe = folder / "referenced.wav"
    if not pipe.exists():
        subprocess.run(["mkfifo", str(pipe)], check=True)
    return {
        **_playlists(pipe),
        **_decompression_bombs(folder),
        **_wav_headers(folder),
        **_mp4_boxes(folder, pipe),
        **_metadata(folder),
        **_many_packets(),
        **_timestamps(folder),
    }


def _playlists(pipe: Path) -> dict[str, Attack]:
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{pipe}\n".encode()
    concat = f"ffconcat version 1.0\nfile '{pipe}'\n".encode()
    mpd = f'<?xml version="1.0"?><MPD><BaseURL>{pipe}</BaseURL></MPD>'.encode()
    sdp = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n"
    return {
        "an HLS playlist": (hls, UNSUPPORTED),
        "a concat script": (concat, UNSUPPORTED),
        "a DASH manifest": (mpd, UNSUPPORTED),
        "a session description": (sdp, UNSUPPORTED),
        "a playlist after an ID3 tag": (_id3(b"") + hls, DAMAGED),
        "a playlist after a wav's first bytes": (b"RIFF\0\0\0\0WAVE" + hls, DAMAGED),
        "a playlist after an m4a's first box": (
            struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0) + hls,
            DAMAGED,
        ),
        "a playlist after an Ogg's first bytes": (b"OggS" + hls, DAMAGED),
    }


def _decompression_bombs(folder: Path) -> dict[str, Attack]:
    hour = encoded(folder / "hour.flac", "anullsrc=r=4000:cl=mono", 3600, "-frame_size", "65535")
    minutes = encoded(folder / "long.opus", "anullsrc=r=8000:cl=mono", 60, "-b:a", "500")
    assert len(hour) < 16_000, "an hour of silence must be a small file"
    return {
        "an hour of silence in 12 kB of flac": (hour, {"clip_too_long"}),
        "a minute of silence in 5 kB of opus": (minutes, {"clip_too_long"}),
        "a zip bomb": (b"PK\x03\x04" + zlib.compress(bytes(10_000_000)), UNSUPPORTED),
        "a gzip bomb": (b"\x1f\x8b\x08" + zlib.compress(bytes(10_000_000)), UNSUPPORTED),
        "an ID3 frame that unpacks to 200 MB": (_id3(_zipped_frame(200_000_000)), DAMAGED),
    }


def _wav_headers(folder: Path) -> dict[str, Attack]:
    pcm = write_clip(folder / "pcm.wav").read_bytes()
    body = pcm[pcm.index(b"data") + 8 :]
    flac = bytearray(write_clip(folder / "clip.flac").read_bytes())
    flac[21] |= 0x0F  # the highest four of 36 bits give 64 billion samples
    flac[22:26] = b"\xff" * 4
    rate_0 = bytearray(write_clip(folder / "rate.flac").read_bytes())
    rate_0[18:20], rate_0[20] = b"\0\0", rate_0[20] & 0x0F
    nan = struct.pack("<f", float("nan")) * 48_000
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 2**63, 2**63, 2**63, 0)
    rf64 = b"RF64\xff\xff\xff\xffWAVE" + ds64 + _fmt() + b"data\xff\xff\xff\xff" + body
    return {
        "a wav of 2^32 bytes by its header": (_wav(_fmt(), body, size=2**32 - 1), {ACCEPTED}),
        "a wav of 2^63 bytes by its header": (rf64, {ACCEPTED, *DAMAGED}),
        "a flac of 64 billion samples by its header": (bytes(flac), {ACCEPTED}),
        "a sample rate of 0": (_wav(_fmt(rate=0), body), {"audio_sample_rate", *DAMAGED}),
        "a sample rate of 0 in flac": (bytes(rate_0), {ACCEPTED, "audio_sample_rate", *DAMAGED}),
        "a sample rate of 2^32": (
            _wav(_fmt(rate=2**32 - 1), body),
            {"audio_sample_rate", *DAMAGED},
        ),
        "no channels": (_wav(_fmt(channels=0), body), {"audio_channels", *DAMAGED}),
        "65,535 channels": (_wav(_fmt(channels=65_535), body), {"audio_channels", *DAMAGED}),
        "8 channels at 192 kHz": (_wav(_fmt(channels=8, rate=192_000), body), {"audio_channels"}),
        "samples of no bits": (_wav(_fmt(bits=0), body), UNSUPPORTED | DAMAGED),
        "samples of 65,535 bits": (_wav(_fmt(bits=65_535), body), UNSUPPORTED | DAMAGED),
        "samples that are NaN": (_wav(_fmt(kind=3, bits=32), nan), {ACCEPTED}),
        "a video codec in a wav": (_wav(_fmt(kind=0x0161), body), UNSUPPORTED | DAMAGED),
    }


def _mp4_boxes(folder: Path, pipe: Path) -> dict[str, Attack]:
    whole = write_clip(folder / "clip.m4a").read_bytes()
    minf = ("moov", "trak", "mdia", "minf")
    url = f"file://{pipe}".encode() + b"\0"
    dref = struct.pack(">II", 0, 1) + struct.pack(">I4sI", 12 + len(url), b"url ", 0) + url
    alias = bytes(150) + struct.pack(">HH", 2, len(str(pipe))) + str(pipe).encode() + b"\xff\xff"
    alis = struct.pack(">II", 0, 1) + struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    ten_hours = struct.pack(">IIIiIIiI", 0, 2, 36_000_000, -1, 1 << 16, 500, 0, 1 << 16)
    reference = _box(
        b"rmra", _box(b"rmda", _box(b"rdrf", struct.pack(">I4sI", 0, b"url ", len(url)) + url))
    )
    cmov = _box(
        b"cmov",
        _box(b"dcom", b"zlib") + _box(b"cmvd", b"\xff" * 4 + zlib.compress(bytes(9_000_000))),
    )
    ftyp = _box(b"ftyp", b"M4A \0\0\0\0")

    def boxed(path: tuple[str, ...], content: bytes) -> bytes:
        return _with_box(whole, path, lambda _: content)

    def counted(box: bytes) -> bytes:
        return box[:8] + b"\xff" * 4 + box[12:]

    either = {ACCEPTED, *DAMAGED}
    return {
        "an m4a with its audio in another file": (boxed((*minf, "dinf", "dref"), dref), either),
        "an m4a with its audio behind an alias": (boxed((*minf, "dinf", "dref"), alis), either),
        "a reference movie": (ftyp + _box(b"moov", reference), {"audio_missing", *DAMAGED}),
        "a compressed index of 4 GB": (ftyp + _box(b"moov", cmov), {"audio_missing", *DAMAGED}),
        "an edit list with ten empty hours": (
            boxed(("moov", "trak", "edts", "elst"), ten_hours),
            either | {"clip_too_long"},
        ),
        "samples that last 2^31 ticks each": (
            boxed((*minf, "stbl", "stts"), struct.pack(">IIII", 0, 1, 25, 2**31 - 1)),
            either | {"clip_too_long", "clip_too_short"},
        ),
        "an index of 2^32 samples": (_with_box(whole, (*minf, "stbl", "stsz"), counted), DAMAGED),
        "an index of 2^32 samples of one byte": (
            boxed((*minf, "stbl", "stsz"), struct.pack(">III", 0, 1, 2**32 - 1)),
            DAMAGED,
        ),
        "an index of 2^32 chunks": (
            _with_box(whole, (*minf, "stbl", "stco"), lambda box: box[:4] + b"\xff" * 4 + box[8:]),
            either,
        ),
        "a box that contains itself": (
            ftyp + b"\0\0\0\x08moov" * 1000,
            {"audio_missing", *DAMAGED},
        ),
    }


def _metadata(folder: Path) -> dict[str, Attack]:
    """Tags, covers and chapters of music files: never read, and no reason to reject the audio."""
    mp3 = write_clip(folder / "clip.mp3").read_bytes()
    text = b"TXXX" + _synchsafe(1_000_000) + b"\0\0" + b"\3" + b"a" * 999_999
    small = b"".join(
        b"TXXX" + _synchsafe(8) + b"\0\0\3k%03d\0v" % (i % 1000) + b"." for i in range(20_000)
    )
    picture = b"APIC" + _synchsafe(len(_vast_png()) + 14) + b"\0\0\0image/png\0\3\0" + _vast_png()
    chapters = "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={i}\nEND={i + 1}\ntitle=c{i}\n" for i in range(400)
    )
    (folder / "chapters.txt").write_text(";FFMETADATA1\n" + chapters)
    sine = "sine=r=48000:d=1"
    read = ("-i", str(folder / "chapters.txt"), "-map_metadata", "1", "-map", "0")
    accepted = {ACCEPTED}
    return {
        "an ID3 tag of a megabyte": (_id3(text) + mp3, accepted),
        "an ID3 tag of 20,000 frames": (_id3(small) + mp3, accepted | DAMAGED),
        "an ID3 tag that is longer than the file": (
            b"ID3\4\0\0" + _synchsafe(2**28 - 1) + mp3,
            {*DAMAGED},
        ),
        "a cover of 2 gigapixels": (_id3(picture) + mp3, accepted),
        "a cover in flac": (_flac_with_picture(folder), accepted),
        "400 chapters in m4a": (encoded(folder / "ch.m4a", sine, 1, *read), accepted),
        "400 chapters in webm": (encoded(folder / "ch.webm", sine, 1, *read), accepted),
    }


def _many_packets() -> dict[str, Attack]:
    head = b"OpusHead\1\2" + struct.pack("<HIhB", 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    start = _ogg_page(7, 0, 2, [head]) + _ogg_page(7, 1, 0, [tags])
    empty = [_ogg_page(7, 2 + i, 0, [b"\xff"] * 255) for i in range(3000)]
    silence = [_ogg_page(7, 2 + i, 0, [b"\x80"] * 255) for i in range(3000)]
    starts = [_ogg_page(i, 0, 2, [head]) for i in range(20_000)]
    return {
        "765,000 packets of one byte": (start + b"".join(empty), DAMAGED),
        "765,000 packets of 2.5 ms": (start + b"".join(silence), {"clip_too_long", *DAMAGED}),
        "20,000 streams in one Ogg": (b"".join(starts), {ACCEPTED, *DAMAGED}),
    }


def _timestamps(folder: Path) -> dict[str, Attack]:
    """Invalid time bases, durations and granule positions."""
    webm = write_clip(folder / "clock.webm").read_bytes()
    scale = b"\x2a\xd7\xb1\x83"
    at = webm.index(scale) + len(scale)
    duration = webm.index(b"\x44\x89\x88") + 3
    opus = write_clip(folder / "clock.opus").read_bytes()
    head = opus.index(b"OpusHead")
    pages = [start for start in range(len(opus)) if opus.startswith(b"OggS", start)]

    def webm_with(start: int, value: bytes) -> bytes:
        return webm[:start] + value + webm[start + len(value) :]

    def opus_with(start: int, value: bytes) -> bytes:
        return with_ogg_checksums(opus[:start] + value + opus[start + len(value) :])

    def granules(value: int) -> bytes:
        changed = bytearray(opus)
        for page in pages[2:]:
            struct.pack_into("<q", changed, page + 6, value)
        return with_ogg_checksums(bytes(changed))

    either = {ACCEPTED, "clip_too_short", "clip_too_long", *DAMAGED}
    return {
        "ticks of 16 ms in webm": (webm_with(at, b"\xff\xff\xff"), either),
        "ticks of 0 ms in webm": (webm_with(at, b"\0\0\0"), either),
        "a webm of infinite duration": (webm_with(duration, struct.pack(">d", 1e300)), either),
        "a webm of negative duration": (webm_with(duration, struct.pack(">d", -1e9)), either),
        "an Ogg with negative granules": (granules(-(2**62)), either),
        "an Ogg with the highest granule": (granules(2**63 - 1), either),
        "an Opus that begins after its end": (opus_with(head + 10, b"\xff\xff"), either),
        "an Opus 128 dB louder": (opus_with(head + 16, b"\xff\x7f"), {ACCEPTED}),
    }


def encoded(path: Path, source: str, seconds: float, *options: str) -> bytes:
    """Encode a lavfi source with ffmpeg to `path` and return the content of the file."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", source]
    subprocess.run([*command, *options, "-t", str(seconds), str(path)], check=True)
    return path.read_bytes()


def _fmt(*, kind: int = 1, channels: int = 2, rate: int = 48_000, bits: int = 16) -> bytes:
    align = (channels * bits // 8) & 0xFFFF
    fields = (16, kind, channels, rate, (rate * align) & 0xFFFFFFFF, align, bits)
    return b"fmt " + struct.pack("<IHHIIHH", *fields)


def _wav(fmt: bytes, body: bytes, *, size: int | None = None) -> bytes:
    stated = len(body) if size is None else size
    return (
        b"RIFF"
        + struct.pack("<I", min(stated + 36, 2**32 - 1))
        + b"WAVE"
        + fmt
        + b"data"
        + struct.pack("<I", stated)
        + body
    )


def _id3(frames: bytes) -> bytes:
    return b"ID3\4\0\0" + _synchsafe(len(frames)) + frames


def _synchsafe(number: int) -> bytes:
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))


def _zipped_frame(length: int) -> bytes:
    packed = zlib.compress(b"\3" + bytes(length - 1), 9)
    content = _synchsafe(length) + packed
    return b"TXXX" + _synchsafe(len(content)) + b"\0\x09" + content


def _vast_png() -> bytes:
    """A PNG with 46,000 x 46,000 pixels in its header."""
    header = struct.pack(">IIBBBBB", 46_000, 46_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(500_000), 9)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        png += struct.pack(">I", len(content)) + name + content
        png += struct.pack(">I", zlib.crc32(name + content))
    return png


def _flac_with_picture(folder: Path) -> bytes:
    flac = write_clip(folder / "cover.flac").read_bytes()
    png = _vast_png()
    fields = struct.pack(">II9sIIIIII", 3, 9, b"image/png", 0, 46_000, 46_000, 24, 0, len(png))
    block = fields + png
    return flac[:42] + b"\6" + struct.pack(">I", len(block))[1:] + block + flac[42:]


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _with_box(content: bytes, path: tuple[str, ...], change: Callable[[bytes], bytes]) -> bytes:
    """Change the content of the box at `path`; the audio precedes the index, so offsets hold."""
    result, at = b"", 0
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        inside = content[at + 8 : at + size]
        if name.decode() == path[0]:
            inside = change(inside) if len(path) == 1 else _with_box(inside, path[1:], change)
        result += _box(name, inside)
        at += size
    return result


def _ogg_page(stream: int, number: int, flags: int, packets: list[bytes]) -> bytes:
    sizes = bytes(len(packet) for packet in packets)
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, number * 960, stream, number, 0)
    page = head + bytes([len(sizes)]) + sizes + b"".join(packets)
    return page[:22] + struct.pack("<I", _ogg_checksum(page)) + page[26:]


def with_ogg_checksums(content: bytes) -> bytes:
    """Correct the checksum of every page that can be found."""
    result = bytearray(content)
    at = result.find(b"OggS")
    while at >= 0 and at + 27 <= len(result):
        head = at + 27 + result[at + 26]
        end = head + sum(result[at + 27 : head])
        result[at + 22 : at + 26] = bytes(4)
        result[at + 22 : at + 26] = struct.pack("<I", _ogg_checksum(bytes(result[at:end])))
        at = result.find(b"OggS", at + 4)
    return bytes(result)


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 of Ogg: the polynomial of zlib with bits in the other order, no inversion."""
    crc = zlib.crc32(page.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
