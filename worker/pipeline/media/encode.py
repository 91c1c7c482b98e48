"""Encode frames and audio to a video through one ffmpeg pipe, in constant memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from jobs.storage.disk_full import FULL_ERRORS
from worker.pipeline.media.container import NVENC, X264, Container, Encoder
from worker.pipeline.media.decode import CHANNELS, SAMPLE_RATE
from worker.pipeline.media.ffmpeg import Ffmpeg, FfmpegError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.pipeline.media.decode import Audio
    from worker.pipeline.take import Frames, Take

SYNTHETIC = "Synthetic: drawn by visavis from a recording"  # comment in the metadata of every file
FRAME_RATE = 30
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
STATUSES = 256  # ffmpeg exits with 256 - errno; on a full disk its message may be lost
PATIENCE = 120.0  # seconds for one batch, so that a stalled encoder cannot block a job


class VideoError(RuntimeError):
    """The video could not be encoded; not the caller's fault."""


# BT.709, declared in the file: players guess the matrix from the size otherwise, which shifts reds.
COLOURS = (
    "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
    "-color_range", "tv",
)  # fmt: skip
MATRIX = "scale=out_color_matrix=bt709:out_range=tv"
# Encoders read these of the frames; the options above alone leave primaries and curve unspecified.
MARKS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
PLANES = "yuv420p"  # pixel format of frames that `models.avatar.yuv` converts


# Hard-panned voices sound like a broken headphone, so both channels contain both: the person
# slightly to the left, the partner slightly to the right. The weights of a channel add up to 1, so
# that two voices at full scale do not clip. A person without a partner is in the middle.
BOTH_VOICES = "pan=stereo|c0=0.6*c0+0.4*c1|c1=0.4*c0+0.6*c1"
ONE_VOICE = "pan=stereo|c0=c0|c1=c0"


def choose_encoder(device_type: str) -> Encoder:
    """Return NVENC where a trial encode succeeds, else libx264.

    ffmpeg lists NVENC on machines without a GPU, and an H100 or H200 has no encoder.
    """
    if device_type == "cuda" and encoder_fault(NVENC) is None:
        return NVENC
    return X264


def encoder_fault(encoder: Encoder) -> str | None:
    """Return None when a small trial encode succeeds, else ffmpeg's message."""
    picture = ["-f", "lavfi", "-i", "color=size=256x256:rate=30:duration=0.1"]
    form = ["-c:v", encoder.name, *encoder.options, "-f", "null", "-"]
    try:
        with Ffmpeg([*picture, *form], patience=20) as child:
            child.finish()
    except FfmpegError as error:
        return error.output
    return None


def encode_take(take: Take, path: Path, container: Container) -> None:
    """Render the frames of a take and encode them with its audio.

    Raises: VideoError: when ffmpeg fails. OSError: when the disk is full.
    """
    with take.frames() as batches:
        encode(batches, take.audio, path, container=container, progress=take.frames_written)


def encode(
    batches: Iterable[Frames],
    audio: Audio,
    video: Path,
    *,
    container: Container,
    progress: Callable[[int], None] = lambda frames: None,
    frame_rate: int = FRAME_RATE,
    planes: bool = True,
) -> None:
    """Write batches of frames with the audio to the file `video`.

    planes: convert opaque frames to YUV 4:2:0 here, where the container has that and warp is
    installed; otherwise ffmpeg converts them.
    progress: called with the number of frames written so far.
    Raises: VideoError: with ffmpeg's message. OSError: when the disk is full.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise VideoError("there are no frames to encode")
    height, width = first.shape[1:3]
    convert = _planes if planes and _converts(first, container) else _pixels
    arguments = _arguments(
        first.shape[1:], audio, video, container, frame_rate, planes=convert is _planes
    )
    written = 0
    try:
        with Ffmpeg(arguments, patience=PATIENCE, feed=True) as child:
            batch: Frames | None = first
            while batch is not None:
                child.write(convert(batch).data)
                written += len(batch)
                progress(written)
                batch = next(batches, None)
            child.finish()
    except FfmpegError as error:
        check_disk(error, video)
        raise VideoError(
            f"{container.encoder.name} failed at frame {written} of {width}x{height}: "
            f"{error.output}"
        ) from error


def _converts(frames: Frames, container: Container) -> bool:
    """Check whether frames are converted to YUV 4:2:0 before they reach ffmpeg."""
    from models.avatar.raster.rasterise import kernels_available

    _, height, width, channels = frames.shape
    even = height % 2 == 0 and width % 2 == 0
    return channels == 3 and container.opaque == PLANES and even and kernels_available()


def _planes(frames: Frames) -> NDArray[np.uint8]:
    from models.avatar.yuv.convert import planes_of

    return planes_of(frames)


def _pixels(frames: Frames) -> NDArray[np.uint8]:
    return np.ascontiguousarray(beyond_edges(frames))


def beyond_edges(frames: Frames) -> Frames:
    """Extend the colour of edges into the transparent pixels beside them.

    Chroma subsampling averages 2 x 2 pixels and would mix edges with black otherwise. RGB frames
    and composited pictures do not change.
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
    """Raises: OSError: when ffmpeg reports that the disk is full."""
    for number in FULL_ERRORS:
        if os.strerror(number) in error.output or error.status == STATUSES - number:
            raise OSError(number, os.strerror(number), str(file)) from error


def voices(audio: Audio) -> list[str]:
    """Return ffmpeg's input arguments for the decoded audio."""
    form = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", str(CHANNELS)]
    return [*form, "-i", f"file:{audio.path}"]


def mix(audio: Audio) -> list[str]:
    """Return ffmpeg's filter arguments for the stereo mix."""
    return ["-af", BOTH_VOICES if audio.partner_speaks else ONE_VOICE]


def _arguments(
    shape: tuple[int, ...],  # of a frame: height, width, channels
    audio: Audio,
    video: Path,
    container: Container,
    frame_rate: int,
    *,
    planes: bool,
) -> list[str]:
    height, width, channels = shape
    source, target = ("rgba", container.alpha) if channels == 4 else ("rgb24", container.opaque)
    if planes:
        source = PLANES
    if target is None:
        raise VideoError(f"{container.encoder.name} has no alpha; its frames must be opaque")
    frames = ["-f", "rawvideo", "-pix_fmt", source, "-s", f"{width}x{height}"]
    frames += ["-r", str(frame_rate), "-i", "pipe:0"]
    conversion = "" if planes else f"{MATRIX},"
    picture = ["-vf", f"{conversion}format={target},{MARKS}", *COLOURS]
    picture += ["-c:v", container.encoder.name, *container.encoder.options]
    audio_options = [*mix(audio), *container.audio]
    file = [*container.muxer, "-metadata", f"comment={SYNTHETIC}", "-y", f"file:{video}"]
    streams = ["-map", "0:v", "-map", "1:a"]
    return [*frames, *voices(audio), *streams, *picture, *audio_options, *file]
