"""Frames and sound to MP4, through one ffmpeg pipe: frames are never all in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.room import FULL_ERRORS
from worker.audio import CHANNELS, SAMPLE_RATE
from worker.ffmpeg import Ffmpeg, FfmpegError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.audio import Sound

    Frames = NDArray[np.uint8]  # a batch, [N, H, W, 3] RGB

FRAME_RATE = 30
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
STATUSES = 256  # ffmpeg leaves with an error's number below this, and its words may find no room
PATIENCE = 120.0  # for one batch: a stalled encoder must not hold a job for ever


class VideoError(RuntimeError):
    """The video could not be encoded: ours, not the caller's."""


@dataclass(frozen=True)
class Encoder:
    """An encoder of ffmpeg, and how it is to work."""

    name: str
    options: tuple[str, ...]


# Constant quality; "fast" keeps up with the renderer on the cores that this leaves free.
X264 = Encoder("libx264", ("-preset", "fast", "-crf", "20"))
NVENC = Encoder("h264_nvenc", ("-preset", "p4", "-rc", "vbr", "-cq", "21", "-b:v", "0"))

# Written with the matrix of HD and saying so: else players guess, by size, and reds turn.
COLOURS = (
    "-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
    "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
    "-color_range", "tv",
)  # fmt: skip

# Two voices on two microphones, one in each ear, sound like a broken headphone. So both ears hear
# both, the person a little to the left and the partner a little to the right. The shares of an ear
# add up to 1: two voices at full scale do not clip. A person alone stands in the middle.
BOTH_VOICES = "pan=stereo|c0=0.6*c0+0.4*c1|c1=0.4*c0+0.6*c1"
ONE_VOICE = "pan=stereo|c0=c0|c1=c0"


def choose_encoder(device_type: str) -> Encoder:
    """The GPU's encoder where one is proven to work, else libx264.

    ffmpeg lists NVENC on machines without it, and an H100 or H200 has none: only trying tells.
    """
    if device_type == "cuda" and encoder_fault(NVENC) is None:
        return NVENC
    return X264


def encoder_fault(encoder: Encoder) -> str | None:
    """None when a tiny encode works, else ffmpeg's words."""
    picture = ["-f", "lavfi", "-i", "color=size=256x256:rate=30:duration=0.1"]
    form = ["-c:v", encoder.name, *encoder.options, "-f", "null", "-"]
    try:
        with Ffmpeg([*picture, *form], patience=20) as child:
            child.finish()
    except FfmpegError as error:
        return error.words
    return None


def frame_count(samples: int) -> int:
    """Frames that cover so many samples of sound: the last one may reach beyond its end."""
    return -(-samples // SAMPLES_PER_FRAME)


def encode(
    batches: Iterable[Frames],
    sound: Sound,
    video: Path,
    *,
    encoder: Encoder = X264,
    progress: Callable[[int], None] = lambda frames: None,
) -> None:
    """Write frames as they come, with the sound, to the MP4 `video`.

    progress: told how many frames have been written. Raises VideoError with ffmpeg's
    words, OSError where the disk is full.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise VideoError("there are no frames to encode")
    height, width = first.shape[1:3]
    arguments = _arguments(width, height, sound, video, encoder)
    written = 0
    try:
        with Ffmpeg(arguments, patience=PATIENCE, feed=True) as child:
            batch: Frames | None = first
            while batch is not None:
                child.write(np.ascontiguousarray(batch).data)
                written += len(batch)
                progress(written)
                batch = next(batches, None)
            child.finish()
    except FfmpegError as error:
        for number in FULL_ERRORS:
            if os.strerror(number) in error.words or error.status == STATUSES - number:
                raise OSError(number, os.strerror(number), str(video)) from error
        raise VideoError(
            f"{encoder.name} failed at frame {written} of {width}x{height}: {error.words}"
        ) from error


def _arguments(width: int, height: int, sound: Sound, video: Path, encoder: Encoder) -> list[str]:
    frames = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    frames += ["-r", str(FRAME_RATE), "-i", "pipe:0"]
    voices = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", str(CHANNELS)]
    voices += ["-i", f"file:{sound.path}"]
    mix = BOTH_VOICES if sound.partner_speaks else ONE_VOICE
    picture = [*COLOURS, "-c:v", encoder.name, *encoder.options]
    heard = ["-af", mix, "-c:a", "aac", "-b:a", "160k"]
    form = ["-movflags", "+faststart", "-f", "mp4", "-y", f"file:{video}"]
    return [*frames, *voices, "-map", "0:v", "-map", "1:a", *picture, *heard, *form]
