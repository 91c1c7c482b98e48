"""Frames and sound to a video, through one ffmpeg pipe: frames are never all in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.storage.disk_full import FULL_ERRORS
from worker.pipeline.decode import CHANNELS, SAMPLE_RATE
from worker.pipeline.ffmpeg import Ffmpeg, FfmpegError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.pipeline.decode import Sound

    Frames = NDArray[np.uint8]  # a batch, [N, H, W, 3] RGB, or 4 for RGBA with straight alpha

SYNTHETIC = "Synthetic: drawn by visavis from a recording"  # what every file says of itself
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

# A finer scale gives larger files that nobody tells from these.
PRORES = Encoder(
    "prores_ks", ("-profile:v", "4444", "-alpha_bits", "16", "-vendor", "apl0", "-qscale:v", "2")
)
# Alternate reference frames and alpha do not go together.
VP9 = Encoder(
    "libvpx-vp9",
    (
        "-b:v", "0", "-crf", "18", "-deadline", "realtime", "-cpu-used", "5", "-row-mt", "1",
        "-auto-alt-ref", "0",
    ),
)  # fmt: skip

# Written with the matrix of HD and saying so: else players guess, by size, and reds turn.
COLOURS = (
    "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
    "-color_range", "tv",
)  # fmt: skip
MATRIX = "scale=out_color_matrix=bt709:out_range=tv"


@dataclass(frozen=True)
class Form:
    """A kind of file, and what ffmpeg is told to make of it."""

    encoder: Encoder
    opaque: str  # pixel format of RGB frames
    alpha: str | None  # and of RGBA frames, where there can be any
    sound: tuple[str, ...]
    container: tuple[str, ...]


FORMS: Mapping[str, Form] = {
    "mp4": Form(
        X264,
        "yuv420p",
        None,
        ("-c:a", "aac", "-b:a", "160k"),
        ("-movflags", "+faststart", "-f", "mp4"),
    ),
    "mov": Form(
        PRORES, "yuv444p10le", "yuva444p10le", ("-c:a", "pcm_s16le"),
        ("-movflags", "+faststart", "-f", "mov"),
    ),
    "webm": Form(
        VP9, "yuv420p", "yuva420p", ("-c:a", "libopus", "-b:a", "128k"), ("-f", "webm")
    ),
}  # fmt: skip

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
    form: Form = FORMS["mp4"],
    progress: Callable[[int], None] = lambda frames: None,
) -> None:
    """Write frames as they come, with the sound, to the file `video`.

    progress: told how many frames have been written. Raises VideoError with ffmpeg's
    words, OSError where the disk is full.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise VideoError("there are no frames to encode")
    height, width = first.shape[1:3]
    arguments = _arguments(first.shape[1:], sound, video, form)
    written = 0
    try:
        with Ffmpeg(arguments, patience=PATIENCE, feed=True) as child:
            batch: Frames | None = first
            while batch is not None:
                child.write(np.ascontiguousarray(beyond_edges(batch)).data)
                written += len(batch)
                progress(written)
                batch = next(batches, None)
            child.finish()
    except FfmpegError as error:
        check_disk(error, video)
        raise VideoError(
            f"{form.encoder.name} failed at frame {written} of {width}x{height}: {error.words}"
        ) from error


def beyond_edges(frames: Frames) -> Frames:
    """RGBA frames where what is not seen, right beside an edge, has the colour of the edge.

    Formats that keep one colour for 2x2 pixels would mix the edge with black there. RGB frames stay
    as they are, and so does every picture that is laid over another.
    """
    if frames.shape[-1] == 3:
        return frames
    count, height, width, _ = frames.shape
    grown = frames.copy()
    blocks = grown.reshape(count, height // 2, 2, width // 2, 2, 4)  # a view of it
    seen = (blocks[..., 3] > 0).sum((2, 4))
    n, row, column = ((seen > 0) & (seen < 4)).nonzero()
    edges = blocks[n, row, :, column]  # [K, 2, 2, 4]
    cover = edges[..., 3:] > 0
    mean = (edges[..., :3] * cover).sum((1, 2), keepdims=True) / cover.sum((1, 2), keepdims=True)
    edges[..., :3] = np.where(cover, edges[..., :3], mean.round())
    blocks[n, row, :, column] = edges
    return grown


def check_disk(error: FfmpegError, file: Path) -> None:
    """OSError where what ffmpeg says is that the disk is full."""
    for number in FULL_ERRORS:
        if os.strerror(number) in error.words or error.status == STATUSES - number:
            raise OSError(number, os.strerror(number), str(file)) from error


def voices(sound: Sound) -> list[str]:
    """The arguments that hand ffmpeg the sound."""
    form = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", str(CHANNELS)]
    return [*form, "-i", f"file:{sound.path}"]


def mix(sound: Sound) -> list[str]:
    """The arguments that make of it what both ears hear."""
    return ["-af", BOTH_VOICES if sound.partner_speaks else ONE_VOICE]


def _arguments(
    shape: tuple[int, ...],  # of a frame: height, width, channels
    sound: Sound,
    video: Path,
    form: Form,
) -> list[str]:
    height, width, channels = shape
    coming, going = ("rgba", form.alpha) if channels == 4 else ("rgb24", form.opaque)
    if going is None:
        raise VideoError(f"{form.encoder.name} has no alpha; its frames must be opaque")
    frames = ["-f", "rawvideo", "-pix_fmt", coming, "-s", f"{width}x{height}"]
    frames += ["-r", str(FRAME_RATE), "-i", "pipe:0"]
    picture = ["-vf", f"{MATRIX},format={going}", *COLOURS]
    picture += ["-c:v", form.encoder.name, *form.encoder.options]
    heard = [*mix(sound), *form.sound]
    place = [*form.container, "-metadata", f"comment={SYNTHETIC}", "-y", f"file:{video}"]
    return [*frames, *voices(sound), "-map", "0:v", "-map", "1:a", *picture, *heard, *place]
