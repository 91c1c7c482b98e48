"""Small video of a take, ready long before its video: to choose takes by."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from contracts.outputs import Output
from worker.pipeline.media.container import Container, Encoder

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take

CONTAINER = Container(
    encoder=Encoder("libx264", ("-preset", "veryfast", "-crf", "26")),
    opaque="yuv420p",
    alpha=None,
    audio=("-c:a", "aac", "-b:a", "96k"),
    muxer=("-movflags", "+faststart", "-f", "mp4"),
)


def write(take: Take, path: Path) -> None:
    """Encode small frames with the audio; docs/rendering.md has their size and rate."""
    from worker.pipeline.media.encode import encode
    from worker.pipeline.render import PREVIEW_RATE, PREVIEW_STEP

    with closing(take.preview()) as batches:
        encode(
            batches,
            take.audio,
            path,
            container=CONTAINER,
            progress=lambda frames: take.frames_written(frames * PREVIEW_STEP),
            frame_rate=PREVIEW_RATE,
        )


OUTPUT = Output(
    name="preview",
    suffix=".mp4",
    content_type="video/mp4",
    description="small video of each take, before its other files",
    write=write,
    frames=True,
    embeds_manifest=True,
    early=True,
    order=90,
)
