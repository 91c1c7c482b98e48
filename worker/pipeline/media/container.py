"""Video containers and encoders, as arguments of ffmpeg. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Encoder:
    """A video encoder of ffmpeg with its options."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Container:
    """A kind of video file: encoder, pixel formats, audio codec and muxer."""

    encoder: Encoder
    opaque: str  # pixel format of RGB frames
    alpha: str | None  # pixel format of RGBA frames; None when the container has no alpha
    audio: tuple[str, ...]
    muxer: tuple[str, ...]


# Constant quality; "fast" keeps up with the renderer on the remaining cores.
X264 = Encoder("libx264", ("-preset", "fast", "-crf", "20"))
NVENC = Encoder("h264_nvenc", ("-preset", "p4", "-rc", "vbr", "-cq", "21", "-b:v", "0"))
