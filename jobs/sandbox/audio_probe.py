"""Audio probe: check and measure an upload in a child process with resource limits.

`probe` starts `python -m jobs.sandbox.audio_probe probe`, which has little memory and time, and can
write no file and open no URL. The child forces the demuxer that the first bytes select, so the
file name and the entries of a playlist have no effect. It decodes all audio, so a false header has
no effect either.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jobs.model import JobWarning, warnings_of
from jobs.sandbox.rlimits import apply_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import av

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECONDS = 5.0  # for the start of the child
OUTPUT_BYTES = 4096  # read from the child at most, so that it cannot fill our memory
STREAMS = 16  # in one file
EMPTY_PACKETS = 1000  # successive packets without audio; more are a denial-of-service attempt


@dataclass(frozen=True)
class MediaLimits:
    """Limits of a clip and of its probe."""

    min_seconds: float = 0.1
    max_seconds: float = 600.0
    max_channels: int = 2
    min_sample_rate: int = 4_000
    max_sample_rate: int = 192_000
    wall_seconds: float = 20.0
    cpu_seconds: int = 15
    memory_bytes: int = 1 << 30  # of address space; the libraries alone map 300 MB


@dataclass(frozen=True)
class ClipInfo:
    """Properties of a clip, measured by decoding it."""

    container: str  # also the suffix of its key: "wav", "flac", "mp3", "ogg", "m4a", "webm"
    codec: str
    sample_rate: int
    channels: int
    seconds: float
    warnings: tuple[JobWarning, ...] = ()


@dataclass(frozen=True)
class Container:
    """A file format: its demuxer in FFmpeg and the accepted codecs."""

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
    """The file is not an acceptable clip: `code` for programs, `detail` for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def probe(path: Path, *, limits: MediaLimits) -> ClipInfo:
    """Probe an upload in a child process.

    Raises: MediaError: when the file is not an acceptable clip; the detail includes a fix.
    """
    command = [
        sys.executable,
        "-m",
        "jobs.sandbox.audio_probe",
        "probe",
        str(path.resolve()),
        json.dumps(asdict(limits)),
    ]
    output = _output(command, timeout=limits.wall_seconds + GRACE_SECONDS)
    try:
        result = json.loads(output)
        if "code" in result:
            raise MediaError(str(result["code"]), str(result["detail"]))
        info = ClipInfo(**result | {"warnings": warnings_of(result.get("warnings", ()))})
    except (TypeError, ValueError) as error:  # the child was killed, or taken over by the file
        if isinstance(error, MediaError):
            raise
        raise _unreadable() from None
    if info.container not in CONTAINERS:
        raise _unreadable()
    return info


def _output(command: list[str], *, timeout: float) -> bytes:
    """Return the output of the child, incomplete if it was killed."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={},  # no secret of the environment reaches an untrusted file
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        timer = threading.Timer(timeout, child.kill)
        timer.start()
        try:
            return child.stdout.read(OUTPUT_BYTES)
        finally:
            timer.cancel()
            child.kill()  # does nothing if the child has ended


def _unreadable() -> MediaError:
    return MediaError(
        "audio_unreadable",
        "the audio could not be read within the time and memory limits of an upload; "
        "convert it to wav and send it again",
    )


def check_seconds(seconds: float, limits: MediaLimits) -> None:
    """Check the length of a clip. Raises: MediaError: when it is too short or too long."""
    if seconds < limits.min_seconds:
        raise MediaError(
            "clip_too_short",
            f"the clip is {seconds:.3f} s long; send {limits.min_seconds:g} s or more",
        )
    if seconds > limits.max_seconds:
        _too_long(seconds, limits)


def sniff(head: bytes) -> str:
    """Return the file format, a key of CONTAINERS, from the first bytes.

    Raises: MediaError: when the format is not accepted.
    """
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
        "audio_type_unsupported", f"the file has no supported audio format; send {ACCEPTED}"
    )


def demuxer_options(kind: str) -> dict[str, str]:
    """Return FFmpeg options for a format: no pictures are decoded, no other files are opened."""
    container = CONTAINERS[kind]
    return {
        "protocol_whitelist": "file",
        "format_whitelist": container.demuxer,
        "codec_whitelist": ",".join(sorted(container.codecs)),
        "max_streams": str(STREAMS),
    }


def inspect_clip(path: Path, limits: MediaLimits) -> ClipInfo:
    """Sniff, open and decode a file; this runs in the child process.

    Raises: MediaError: when the file is not an acceptable clip.
    """
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
        raise MediaError("audio_missing", "the file contains no audio; send a recording")
    stream = container.streams.audio[0]
    codec = stream.codec_context.name if stream.codec_context else "an unknown codec"
    if codec not in CONTAINERS[kind].codecs:
        raise MediaError(
            "audio_type_unsupported",
            f"the codec {codec} in {kind} is not supported; send {ACCEPTED}",
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
            _too_long(_header_seconds(container), limits)
    if channels == 0:
        raise MediaError(
            "audio_empty", "the file contains no audio after its header; export it again"
        )
    check_seconds(seconds, limits)
    return ClipInfo(kind, _codec_name(codec), sample_rate, channels, round(seconds, 6))


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, kind: str
) -> Iterator[av.AudioFrame]:
    """Yield every frame that can be decoded; a few damaged packets are ignored."""
    from av.error import FFmpegError

    good, bad, empty = 0, 0, 0
    packets = container.demux(stream)
    while empty <= EMPTY_PACKETS:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except FFmpegError:  # the file is truncated; the packets before count
            bad += 1
            break
        empty += 1
        try:
            frames = packet.decode()
        except FFmpegError:
            bad += 1
            continue
        for frame in frames:
            empty = 0
            good += 1
            yield frame
    if bad > 2 + good // 10 or (bad and not good) or empty > EMPTY_PACKETS:
        _damaged(kind)


def _check_channels(channels: int, limits: MediaLimits) -> None:
    if not 1 <= channels <= limits.max_channels:
        raise MediaError(
            "audio_channels",
            f"the audio has {channels} channels; send 2 (left: the person, right: the partner) "
            "or 1 (the person)",
        )


def _check_rate(sample_rate: int, limits: MediaLimits) -> None:
    if not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
        raise MediaError(
            "audio_sample_rate",
            f"the audio has {sample_rate} samples per second; send {limits.min_sample_rate} to "
            f"{limits.max_sample_rate}, preferably 48000",
        )


def _header_seconds(container: av.container.InputContainer) -> float:
    return (container.duration or 0) / 1_000_000


def _too_long(seconds: float, limits: MediaLimits) -> NoReturn:
    length = f"{seconds:.2f} s" if seconds > limits.max_seconds else "longer"
    raise MediaError(
        "clip_too_long",
        f"the clip is {length}, and the limit is {limits.max_seconds:g} s; cut it",
    )


def _damaged(kind: str) -> NoReturn:
    raise MediaError(
        "audio_damaged", f"the file begins like {kind} but cannot be decoded; export it again"
    )


def _codec_name(codec: str) -> str:
    return {"mp3float": "mp3"}.get(codec, codec)


def _starts_mp3(head: bytes) -> bool:
    """Check for a frame sync of MPEG layer III: eleven bits set, then version and layer."""
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 != 0xF0


def _rlimits(limits: MediaLimits) -> dict[str, int]:
    return {
        "CPU": limits.cpu_seconds,
        "AS": limits.memory_bytes,
        "FSIZE": 0,
        "CORE": 0,
        "NOFILE": 64,
        "NPROC": 0,  # no further processes; root is exempt
    }


def main(arguments: list[str]) -> None:
    """Run `probe PATH LIMITS`: print one line of JSON, a ClipInfo or {code, detail}."""
    _, path, text = arguments
    limits = MediaLimits(**json.loads(text))
    apply_limits(_rlimits(limits))
    result: dict[str, Any]
    try:
        result = asdict(inspect_clip(Path(path), limits))
    except MediaError as error:
        result = {"code": error.code, "detail": error.detail}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)  # of FFmpeg about an untrusted file
    main(sys.argv[1:])
