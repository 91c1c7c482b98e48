"""Decoding of clips to 48 kHz stereo floats; left is the person, right the partner."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.sandbox.audio_probe import CONTAINERS, MediaError, demuxer_options, sniff
from worker.pipeline.ffmpeg import Ffmpeg, FfmpegError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

    from jobs.model import JobWarning

SAMPLE_RATE = 48_000
CHANNELS = 2
FRAME_BYTES = 4 * CHANNELS  # one sample of both channels, as float32
CHUNK = 8192 * FRAME_BYTES
WALL_SECONDS = 30.0  # for decoding, in addition to the length of the clip
RLIMITS = {
    "AS": 2 << 30,  # the threads of ffmpeg alone map several hundred MB
    "FSIZE": 1 << 20,  # of its error output; the audio goes through a pipe
    "CORE": 0,
    "NOFILE": 64,
}
# Signals that the kernel sends for faults of the process; SIGKILL and SIGTERM come from outside.
FAULT_SIGNALS = {
    signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE,
    signal.SIGILL,
}  # fmt: skip


@dataclass(frozen=True)
class Audio:
    """A decoded clip, in a file, so that a long one does not fill the memory."""

    path: Path  # raw float32, the two channels interleaved
    samples: NDArray[np.float32]  # [samples, 2] in -1..1, mapped from that file
    partner_speaks: bool  # False: channel 1 is all zeros
    warnings: tuple[JobWarning, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def decode(
    clip: Path,
    raw: Path,
    *,
    max_seconds: float,
    wall_seconds: float | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Audio:
    """Decode at most `max_seconds` of `clip` into the file `raw`. progress: called with 0..1.

    Channels are never mixed; a mono clip gets a silent partner.

    Raises:
        MediaError: when the clip cannot be decoded.
        FfmpegError: when ffmpeg is missing or was killed.
    """
    with clip.open("rb") as file:
        kind = sniff(file.read(16))
    patience = wall_seconds if wall_seconds is not None else WALL_SECONDS + max_seconds
    arguments = _arguments(clip, kind, max_seconds)
    rlimits = RLIMITS | {"CPU": int(patience) + 1}
    most = round(max_seconds * SAMPLE_RATE) * FRAME_BYTES
    try:
        with Ffmpeg(arguments, patience=patience, rlimits=rlimits) as child:
            partner_speaks = _receive(child.pipe, raw, most, lambda size: progress(size / most))
            child.finish()
    except FfmpegError as error:
        if (media_error := _media_error(error, kind, clip)) is None:
            raise  # ffmpeg is missing or was killed, which is not the fault of the clip
        raise media_error from error
    if raw.stat().st_size == 0:
        raise MediaError(
            "audio_empty", "the file contains no decodable audio after its header; export it again"
        )
    samples: NDArray[np.float32] = np.memmap(raw, np.float32, mode="c").reshape(-1, CHANNELS)
    return Audio(raw, samples, partner_speaks)


def _arguments(clip: Path, kind: str, max_seconds: float) -> list[str]:
    """Return arguments that force the demuxer and allow files only, against hostile playlists."""
    only = [
        option for name, value in demuxer_options(kind).items() for option in (f"-{name}", value)
    ]
    demuxer = CONTAINERS[kind].demuxer
    # One thread of each kind, because each maps address space and ffmpeg starts one per core.
    reading = ["-filter_threads", "1", "-threads", "1", *only, "-f", demuxer, "-i", f"file:{clip}"]
    # asetpts replaces the timestamps, because `-t` would drop audio after a gap in them.
    # `pan` by number copies channels, and c1 of a mono clip is silence; `-ac` would mix them.
    filters = "asetpts=N/SR/TB,pan=stereo|c0=c0|c1=c1"
    stream = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-af", filters]
    output = ["-ar", str(SAMPLE_RATE), "-f", "f32le", "-c:a", "pcm_f32le"]
    return [*reading, *stream, "-t", f"{max_seconds:.6f}", *output, "pipe:1"]


def _receive(pipe: IO[bytes], raw: Path, most: int, progress: Callable[[int], None]) -> bool:
    """Write the decoded audio to `raw` as finite numbers in -1..1; return if the partner speaks.

    progress: called with the number of bytes received.

    This process writes the file, so that a full disk is an OSError here and not a fault of the
    clip. At most `most` bytes are written, even if the timestamps defeat `-t`.
    """
    partner_speaks = False
    with raw.open("wb") as file:
        while chunk := pipe.read(CHUNK):
            chunk = chunk[: most - file.tell()]
            whole = len(chunk) // FRAME_BYTES * FRAME_BYTES
            samples = np.frombuffer(chunk[:whole], np.float32).reshape(-1, CHANNELS)
            samples = np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0)
            partner_speaks = partner_speaks or bool(samples[:, 1].any())
            file.write(samples.tobytes())
            progress(file.tell())
    return partner_speaks


def _media_error(error: FfmpegError, kind: str, clip: Path) -> MediaError | None:
    if error.stalled or -(error.status or 0) in FAULT_SIGNALS:
        return MediaError(
            "audio_unreadable",
            "the audio could not be decoded within the time and memory limits for a clip of this "
            "length; convert it to wav and send it again",
        )
    if error.status is not None and error.status > 0:
        reason = error.output.splitlines()[0].replace(f"file:{clip}", "the clip")
        return MediaError(
            "audio_damaged",
            f"the file begins like {kind} but cannot be decoded ({reason}); export it again",
        )
    return None
