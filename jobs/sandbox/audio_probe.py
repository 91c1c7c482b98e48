"""Audio probe: check and measure an upload in a child process with resource limits.

`probe` starts `python -m jobs.sandbox.audio_probe probe`, which has little memory and time, reads
its file only, writes none and opens no URL (`jobs/sandbox/confinement.py`). The child forces the
demuxer that the first bytes select, so the file name and the entries of a playlist have no effect.
It decodes all audio, so a false header has no effect either. `read_command` starts the same reader
for its audio.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tempfile
import threading
import wave
from array import array
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from jobs.model import JobWarning, warnings_of
from jobs.sandbox.audio_formats import CONTAINERS, MediaError, MediaLimits
from jobs.sandbox.audio_reader import (
    SAMPLE_BYTES,
    SAMPLE_RATE,
    ClipReader,
    paired,
)
from jobs.sandbox.confinement import confine
from jobs.sandbox.recording import check_channels, length_warnings, of_partner
from jobs.sandbox.rlimits import apply_limits

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECONDS = 5.0  # for the start of the child
OUTPUT_BYTES = 4096  # read from the child at most, so that it cannot fill our memory
STEREO_BYTES = 2 * SAMPLE_BYTES


class SandboxError(RuntimeError):
    """This machine reads no clip at all: a fault of the service, not of the file."""


@dataclass(frozen=True)
class ClipInfo:
    """Properties of a clip, measured by decoding it."""

    container: str  # also the suffix of its key: a key of CONTAINERS
    codec: str
    sample_rate: int  # of its first part
    channels: int  # 2 for a file with two tracks
    seconds: float  # a whole number of samples at 48 kHz
    warnings: tuple[JobWarning, ...] = ()


def info_of(result: dict[str, Any]) -> ClipInfo:
    """Return the properties that a child process printed.

    Raises:
        MediaError: when it printed an error.
        TypeError, ValueError: when it printed something else.
    """
    if "code" in result:
        raise MediaError(str(result["code"]), str(result["detail"]))
    info = ClipInfo(**result | {"warnings": warnings_of(result.get("warnings", ()))})
    if info.container not in CONTAINERS:
        raise ValueError(f"unknown format {info.container}")
    return info


def read_command(path: Path, *, max_seconds: float, partner: Path | None = None) -> list[str]:
    """Return the command that writes a clip to its stdout, as 48 kHz float32 of two channels.

    Its stderr is one line of JSON. The environment of the child must be empty, its folder ROOT.
    partner: a mono file for the right channel.
    """
    limits = MediaLimits(min_seconds=0.0, max_seconds=max_seconds)
    return _command("read", limits, path, *([partner] if partner else []))


def _command(name: str, limits: MediaLimits, *paths: Path) -> list[str]:
    module = [sys.executable, "-m", "jobs.sandbox.audio_probe", name, json.dumps(asdict(limits))]
    return [*module, *(str(path.resolve()) for path in paths)]


def probe(path: Path, *, limits: MediaLimits) -> ClipInfo:
    """Probe an upload in a child process.

    Raises:
        MediaError: when the file is not an acceptable clip; the detail includes a fix.
        SandboxError: when no clip could be read on this machine.
    """
    command = _command("probe", limits, path)
    output = _output(command, timeout=limits.probe_wall_seconds + GRACE_SECONDS)
    try:
        return info_of(json.loads(output))
    except MediaError:
        raise
    except (KeyError, TypeError, ValueError):  # the child was killed, or taken over by the file
        _check_probe()
        raise _unreadable() from None


def tone_wav(samples: int) -> bytes:
    """Return a mono wav file of a tone at 48 kHz, which every decoder reads."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        tone = (round(8000 * math.sin(math.tau * 440 * n / SAMPLE_RATE)) for n in range(samples))
        file.writeframes(array("h", tone).tobytes())
    return buffer.getvalue()


def _check_probe() -> None:
    """Probe a tone. Raises: SandboxError: when this machine cannot read it."""
    limits = MediaLimits(min_seconds=0.0, max_seconds=1.0)
    with tempfile.NamedTemporaryFile(prefix="visavis-tone-", suffix=".wav") as file:
        file.write(tone_wav(SAMPLE_RATE // 10))
        file.flush()
        command = _command("probe", limits, Path(file.name))
        output = _output(command, timeout=limits.wall_seconds + GRACE_SECONDS)
    try:
        info_of(json.loads(output))
    except (KeyError, TypeError, ValueError) as error:
        raise SandboxError("the probe cannot read a correct clip on this machine") from error


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
    if samples_in(seconds) < samples_in(limits.min_seconds):
        raise MediaError(
            "clip_too_short",
            f"the clip is {seconds:.3f} s long; send {limits.min_seconds:g} s or more",
        )
    if samples_in(seconds) > samples_in(limits.max_seconds):
        _too_long(seconds, limits)


def inspect_clip(path: Path, limits: MediaLimits) -> ClipInfo:
    """Decode a file and return its properties; this runs in the child process.

    Raises: MediaError: when the file is not an acceptable clip.
    """
    reader = ClipReader(path, limits)
    most, samples = samples_in(limits.max_seconds), 0
    with closing(reader.stereo()) as chunks:
        for chunk in chunks:
            samples += len(chunk) // STEREO_BYTES
            if samples > most:
                _too_long(reader.stated_seconds, limits)
    check_seconds(samples / SAMPLE_RATE, limits)
    return _info(reader, samples)


def write_audio(
    path: Path, limits: MediaLimits, file: BinaryIO, *, partner: Path | None = None
) -> ClipInfo:
    """Write the audio of a clip, at most `max_seconds`; this runs in the child process.

    Raises: MediaError: when a file is not an acceptable clip.
    """
    reader = ClipReader(path, limits)
    most, samples = samples_in(limits.max_seconds), 0
    with closing(reader.stereo() if partner is None else _dialogue(reader, partner)) as chunks:
        for chunk in chunks:
            part = memoryview(chunk)[: (most - samples) * STEREO_BYTES]
            file.write(part)
            samples += len(part) // STEREO_BYTES
            if samples >= most:
                break
    return _info(reader, samples)


def _dialogue(reader: ClipReader, partner: Path) -> Generator[bytes]:
    """Yield the clip as left and the partner's file as right channel; both must be mono."""
    other = ClipReader(partner, reader.limits)
    lengths = [0, 0]

    def mono(which: int, source: ClipReader) -> Iterator[bytes]:
        for chunk in source.stereo():
            check_channels("left", reader.channels, partner=True, partner_channels=other.channels)
            lengths[which] += len(chunk) // STEREO_BYTES
            yield memoryview(chunk).cast("f")[::2].tobytes()

    yield from paired(mono(0, reader), mono(1, other))
    reader.add(of_partner(other.warnings))
    reader.add(length_warnings(lengths[0] / SAMPLE_RATE, lengths[1] / SAMPLE_RATE))


def samples_in(seconds: float) -> int:
    """Return a length as samples at 48 kHz; lengths are compared as whole samples."""
    return round(seconds * SAMPLE_RATE)


def _info(reader: ClipReader, samples: int) -> ClipInfo:
    return ClipInfo(
        reader.kind,
        reader.codec,
        reader.sample_rate,
        reader.channels,
        samples / SAMPLE_RATE,
        reader.warnings,
    )


def _too_long(seconds: float, limits: MediaLimits) -> NoReturn:
    length = f"{seconds:.2f} s" if seconds > limits.max_seconds else "longer"
    raise MediaError(
        "clip_too_long",
        f"the clip is {length}, and the limit is {limits.max_seconds:g} s; cut it",
    )


def _rlimits(limits: MediaLimits) -> dict[str, int]:
    return {
        "CPU": limits.probe_cpu_seconds,
        "AS": limits.memory_bytes,
        "FSIZE": 0,
        "CORE": 0,
        "NOFILE": 64,
        "NPROC": 0,  # no further processes; root is exempt
    }


def main(arguments: list[str]) -> None:
    """Run `probe LIMITS PATH` or `read LIMITS PATH [PARTNER]`.

    They print one line of JSON, a ClipInfo or {code, detail}: `read` to stderr, because its stdout
    is the audio.
    """
    command, text, *paths = arguments
    limits = MediaLimits(**json.loads(text))
    path, partner = Path(paths[0]), Path(paths[1]) if paths[1:] else None
    report = sys.stdout
    result: dict[str, Any]
    try:
        if command == "probe":
            apply_limits(_rlimits(limits))
            result = asdict(inspect_clip(path, limits))
        else:  # the caller of `read` has set the limits
            report = sys.stderr
            result = asdict(write_audio(path, limits, sys.stdout.buffer, partner=partner))
            sys.stdout.flush()
    except MediaError as error:
        result = {"code": error.code, "detail": error.detail}
    report.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)  # of FFmpeg about an untrusted file
    confine(Path(each) for each in sys.argv[3:])
    main(sys.argv[1:])
