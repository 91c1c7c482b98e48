"""A clip to sound: 48 kHz, two channels, float. The person is channel 0, the partner channel 1."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.sandbox.audio_probe import CONTAINERS, MediaError, allowed, sniff
from worker.pipeline.ffmpeg import Ffmpeg, FfmpegError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

SAMPLE_RATE = 48_000
CHANNELS = 2
FRAME_BYTES = 4 * CHANNELS  # one sample of both channels, as float32
CHUNK = 8192 * FRAME_BYTES
WALL_SECONDS = 30.0  # for decoding, beside the length of the clip
ROPE = {
    "AS": 2 << 30,  # its threads alone map some hundred MB
    "FSIZE": 1 << 20,  # of its words, which are cut off there; the sound goes through a pipe
    "CORE": 0,
    "NOFILE": 64,
}
# What the kernel ends a process with for what it does; SIGKILL and SIGTERM come from outside.
OWN_FAULTS = {
    signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE,
    signal.SIGILL,
}  # fmt: skip


@dataclass(frozen=True)
class Sound:
    """A decoded clip, kept in a file: an hour of it is no hour of memory."""

    path: Path  # raw float32, the two channels interleaved
    samples: NDArray[np.float32]  # [samples, 2] in -1..1, a view of that file
    partner_speaks: bool  # False: channel 1 is nothing but zeros

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
) -> Sound:
    """Decode `clip` into the file `raw`, `max_seconds` of it at most. progress: told 0..1.

    Channels stay what they are and are never mixed; a mono clip gets a silent partner. Raises
    MediaError where the clip cannot be decoded, FfmpegError where ffmpeg was killed.
    """
    with clip.open("rb") as file:
        kind = sniff(file.read(16))
    patience = wall_seconds if wall_seconds is not None else WALL_SECONDS + max_seconds
    arguments = _arguments(clip, kind, max_seconds)
    rope = ROPE | {"CPU": int(patience) + 1}
    most = round(max_seconds * SAMPLE_RATE) * FRAME_BYTES
    try:
        with Ffmpeg(arguments, patience=patience, rope=rope) as child:
            partner_speaks = _receive(child.pipe, raw, most, lambda got: progress(got / most))
            child.finish()
    except FfmpegError as error:
        if (fault := _fault_of_the_clip(error, kind, clip)) is None:
            raise  # ended by a signal, or not found: not the clip's fault
        raise fault from error
    if raw.stat().st_size == 0:
        raise MediaError(
            "audio_empty", "no sound that can be decoded follows the header; export it again"
        )
    samples: NDArray[np.float32] = np.memmap(raw, np.float32, mode="c").reshape(-1, CHANNELS)
    return Sound(raw, samples, partner_speaks)


def _arguments(clip: Path, kind: str, max_seconds: float) -> list[str]:
    """No name and no playlist decides what is opened: the demuxer is forced, and files only."""
    only = [word for name, value in allowed(kind).items() for word in (f"-{name}", value)]
    demuxer = CONTAINERS[kind].demuxer
    # One thread of each kind: each maps address space, and a machine with many cores starts many.
    reading = ["-filter_threads", "1", "-threads", "1", *only, "-f", demuxer, "-i", f"file:{clip}"]
    # Samples are counted, and timestamps not believed: after a gap in them `-t` would drop sound.
    # `pan` by number copies channels; where a mono clip has no c1, it is silence. `-ac` would mix.
    filters = "asetpts=N/SR/TB,pan=stereo|c0=c0|c1=c1"
    sound = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-af", filters]
    form = ["-ar", str(SAMPLE_RATE), "-f", "f32le", "-c:a", "pcm_f32le"]
    return [*reading, *sound, "-t", f"{max_seconds:.6f}", *form, "pipe:1"]


def _receive(pipe: IO[bytes], raw: Path, most: int, progress: Callable[[int], None]) -> bool:
    """Write what comes to `raw`, as finite numbers in -1..1; answers whether the partner speaks.

    progress: told the bytes that have come.

    We write and not ffmpeg, so that a full disk is an OSError of ours and no fault of the clip. No
    more than `most` bytes are kept, whatever the timestamps made of "-t".
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


def _fault_of_the_clip(error: FfmpegError, kind: str, clip: Path) -> MediaError | None:
    if error.stalled or -(error.status or 0) in OWN_FAULTS:
        return MediaError(
            "audio_unreadable",
            "the audio could not be decoded in the time and memory that a clip of its length may "
            "take; convert it to wav and send it again",
        )
    if error.status is not None and error.status > 0:
        words = error.words.splitlines()[0].replace(f"file:{clip}", "the clip")
        return MediaError(
            "audio_damaged",
            f"the file begins like {kind} and cannot be decoded ({words}); export it again",
        )
    return None
