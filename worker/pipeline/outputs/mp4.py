"""MP4 with H.264 and AAC: plays everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from contracts.outputs import VIDEO, Output
from worker.pipeline.media.container import X264, Container

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take

CONTAINER = Container(
    encoder=X264,
    opaque="yuv420p",
    alpha=None,
    audio=("-c:a", "aac", "-b:a", "160k"),
    muxer=("-movflags", "+faststart", "-f", "mp4"),
)


def write(take: Take, path: Path) -> None:
    """Encode the take with the encoder of this machine."""
    from worker.pipeline.media.encode import encode_take

    encode_take(take, path, replace(CONTAINER, encoder=take.encoder))


OUTPUT = Output(
    name="mp4",
    suffix=".mp4",
    content_type="video/mp4",
    description="MP4 (H.264)",
    write=write,
    kind=VIDEO,
    stem="take",
    frames=True,
    embeds_manifest=True,
    order=10,
)
