"""What audio is accepted: an upload is looked at in a child process that is held on a short rope.

`probe` starts `python -m jobs.media probe`, which may use little memory and time, writes nothing,
and opens no address. It forces the demuxer that the first bytes ask for, so the name of a file and
what a playlist points at mean nothing, and it decodes the sound, so a header is not believed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jobs.sandbox.rlimits import apply_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import av

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECONDS = 5.0  # for the child to start, beside the CPU time that it may use
ANSWER_BYTES = 4096  # of the child: whatever became of it, it cannot fill our memory
STREAMS = 16  # in one file
BARREN_PACKETS = 1000  # one after the other without sound: more are an attack on our time


@dataclass(frozen=True)
class MediaLimits:
    """What a clip may be, and what looking at it may cost."""

    min_seconds: float = 0.1
    max_seconds: float = 600.0
    max_channels: int = 2
    min_sample_rate: int = 4_000
    max_sample_rate: int = 192_000
    wall_seconds: float = 20.0
    cpu_seconds: int = 15
    memory_bytes: int = 1 << 30  # of address space: the libraries alone map 300 MB


@dataclass(frozen=True)
class ClipInfo:
    """What a clip is, as found by decoding it."""

    container: str  # also the ending of its key: "wav", "flac", "mp3", "ogg", "m4a", "webm"
    codec: str
    sample_rate: int
    channels: int
    seconds: float


@dataclass(frozen=True)
class Container:
    """A kind of file: how FFmpeg calls it, and which codecs we take in it."""

    demuxer: str
    codecs: frozenset[str]


INTEGER_PCM = frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le"})
PCM = INTEGER_PCM | {"pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"}
CONTAINERS: Mapping[str, Container] = {
    "wav": Container("wav", PCM),
    "flac": Container("flac", frozenset({"flac"})),
    "mp3": Container("mp3", frozenset({"mp3", "mp3float"})),
    "ogg": Container("ogg", frozenset({"vorbis", "opus", "flac"})),
    "m4a": Container("mov", frozenset({"aac", "alac", "mp3", "mp3float", "opus"})),
    "webm": Container("matroska", frozenset({"opus", "vorbis"})),
}
ACCEPTED = "wav, flac, mp3, ogg (Vorbis or Opus), m4a (AAC) or webm (Opus or Vorbis)"


class MediaError(ValueError):
    """This file is no clip that we take: `code` for programs, the message for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def probe(path: Path, *, limits: MediaLimits) -> ClipInfo:
    """Look at an upload in a child process. MediaError says what is wrong and what to do."""
    command = [
        sys.executable,
        "-m",
        "jobs.sandbox.audio_probe",
        "probe",
        str(path.resolve()),
        json.dumps(asdict(limits)),
    ]
    said = _said(command, patience=limits.wall_seconds + GRACE_SECONDS)
    try:
        answer = json.loads(said)
        if "code" in answer:
            raise MediaError(str(answer["code"]), str(answer["detail"]))
        info = ClipInfo(**answer)
    except (TypeError, ValueError) as error:  # it was ended, or is not what it was
        if isinstance(error, MediaError):
            raise
        raise _unreadable() from None
    if info.container not in CONTAINERS:
        raise _unreadable()
    return info


def _said(command: list[str], *, patience: float) -> bytes:
    """What the child answers; nothing, or half of it, where it was ended."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={},  # no secret of ours goes near a stranger's file
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        watch = threading.Timer(patience, child.kill)
        watch.start()
        try:
            return child.stdout.read(ANSWER_BYTES)
        finally:
            watch.cancel()
            child.kill()  # harmless when it has ended


def _unreadable() -> MediaError:
    return MediaError(
        "audio_unreadable",
        "the audio could not be read within the time and memory that one upload may use; "
        "convert it to wav and send it again",
    )


def check_seconds(seconds: float, limits: MediaLimits) -> None:
    """MediaError where a clip of this length is too short or too long."""
    if seconds < limits.min_seconds:
        raise MediaError(
            "clip_too_short",
            f"the clip is {seconds:.3f} s long; send {limits.min_seconds:g} s or more",
        )
    if seconds > limits.max_seconds:
        _too_long(seconds, limits)


def sniff(head: bytes) -> str:
    """The kind of file that its first bytes tell: a key of CONTAINERS."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[4:8] == b"ftyp":
        return "m4a"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[:3] == b"ID3" or _starts_mp3(head):
        return "mp3"
    raise MediaError(
        "audio_type_unsupported", f"this is not an audio file that we read; send {ACCEPTED}"
    )


def demuxer_options(kind: str) -> dict[str, str]:
    """Options of FFmpeg for a file of this kind: a picture in it is not looked at, and another file
    that it points at is not opened."""
    container = CONTAINERS[kind]
    return {
        "protocol_whitelist": "file",
        "format_whitelist": container.demuxer,
        "codec_whitelist": ",".join(sorted(container.codecs)),
        "max_streams": str(STREAMS),
    }


def inspect_clip(path: Path, limits: MediaLimits) -> ClipInfo:
    """The work of the child: sniff, open, decode. MediaError when it is no clip for us."""
    import av
    from av.error import FFmpegError

    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise MediaError("audio_empty", "the audio file is empty; send a recording")
    kind = sniff(head)
    try:
        with av.open(
            str(path),
            format=CONTAINERS[kind].demuxer,
            options=demuxer_options(kind),
            metadata_errors="replace",
        ) as container:
            return _decoded(container, kind, limits)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        _damaged(kind)


def _decoded(container: av.container.InputContainer, kind: str, limits: MediaLimits) -> ClipInfo:
    if not container.streams.audio:
        raise MediaError("audio_missing", "there is no sound in this file; send a recording")
    stream = container.streams.audio[0]
    codec = stream.codec_context.name if stream.codec_context else "an unknown codec"
    if codec not in CONTAINERS[kind].codecs:
        raise MediaError(
            "audio_type_unsupported", f"{kind} with {codec} inside is not read; send {ACCEPTED}"
        )
    seconds, sample_rate, channels = 0.0, stream.codec_context.sample_rate, 0
    _check_rate(sample_rate, limits)
    _check_channels(stream.codec_context.channels, limits)
    for frame in _frames(container, stream, kind):
        _check_channels(frame.layout.nb_channels, limits)
        _check_rate(frame.sample_rate, limits)
        sample_rate, channels = frame.sample_rate, frame.layout.nb_channels
        seconds += frame.samples / frame.sample_rate
        if seconds > limits.max_seconds + 0.5 / sample_rate:
            _too_long(_told_seconds(container), limits)
    if channels == 0:
        raise MediaError(
            "audio_empty", "no sound that can be decoded follows the header; export it again"
        )
    check_seconds(seconds, limits)
    return ClipInfo(kind, _plain(codec), sample_rate, channels, round(seconds, 6))


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, kind: str
) -> Iterator[av.AudioFrame]:
    """Every frame that decodes. A damaged packet or two are forgiven, a damaged file is not."""
    from av.error import FFmpegError

    good, bad, barren = 0, 0, 0
    packets = container.demux(stream)
    while barren <= BARREN_PACKETS:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except FFmpegError:  # cut off in the middle: what came before counts
            bad += 1
            break
        barren += 1
        try:
            frames = packet.decode()
        except FFmpegError:
            bad += 1
            continue
        for frame in frames:
            barren = 0
            good += 1
            yield frame
    if bad > 2 + good // 10 or (bad and not good) or barren > BARREN_PACKETS:
        _damaged(kind)


def _check_channels(channels: int, limits: MediaLimits) -> None:
    if not 1 <= channels <= limits.max_channels:
        raise MediaError(
            "audio_channels",
            f"the audio has {channels} channels; send 2 (the person, then the partner) "
            "or 1 (the person alone)",
        )


def _check_rate(sample_rate: int, limits: MediaLimits) -> None:
    if not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
        raise MediaError(
            "audio_sample_rate",
            f"the audio has {sample_rate} samples a second; send {limits.min_sample_rate} to "
            f"{limits.max_sample_rate}, best 48000",
        )


def _told_seconds(container: av.container.InputContainer) -> float:
    return (container.duration or 0) / 1_000_000


def _too_long(told: float, limits: MediaLimits) -> NoReturn:
    length = f"{told:.2f} s" if told > limits.max_seconds else "more than that"
    raise MediaError(
        "clip_too_long", f"the clip may be {limits.max_seconds:g} s long and is {length}; cut it"
    )


def _damaged(kind: str) -> NoReturn:
    raise MediaError(
        "audio_damaged", f"the file begins like {kind} and cannot be decoded; export it again"
    )


def _plain(codec: str) -> str:
    return {"mp3float": "mp3"}.get(codec, codec)


def _starts_mp3(head: bytes) -> bool:
    """Frame sync of MPEG layer III: eleven bits set, then version and layer."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 != 0xF0


def _rope(limits: MediaLimits) -> dict[str, int]:
    return {
        "CPU": limits.cpu_seconds,
        "AS": limits.memory_bytes,
        "FSIZE": 0,
        "CORE": 0,
        "NOFILE": 64,
        "NPROC": 0,  # no further processes; does not bind root
    }


def main(arguments: list[str]) -> None:
    """`probe PATH LIMITS`: one line of JSON, ClipInfo or {code, detail}."""
    _, path, text = arguments
    limits = MediaLimits(**json.loads(text))
    apply_limits(_rope(limits))
    answer: dict[str, Any]
    try:
        answer = asdict(inspect_clip(Path(path), limits))
    except MediaError as error:
        answer = {"code": error.code, "detail": error.detail}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)  # FFmpeg's words about a stranger's file
    main(sys.argv[1:])
