"""WebM with VP9 and Opus: for web pages, with alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import VIDEO, Output
from worker.pipeline.media.container import Container, Encoder

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take

# libvpx cannot combine alternate reference frames with alpha.
VP9 = Encoder(
    "libvpx-vp9",
    (
        "-b:v", "0", "-crf", "18", "-deadline", "realtime", "-cpu-used", "5", "-row-mt", "1",
        "-auto-alt-ref", "0",
    ),
)  # fmt: skip
CONTAINER = Container(
    encoder=VP9,
    opaque="yuv420p",
    alpha="yuva420p",
    audio=("-c:a", "libopus", "-b:a", "128k"),
    muxer=("-f", "webm"),
)


def write(take: Take, path: Path) -> None:
    """Encode the take."""
    from worker.pipeline.media.encode import encode_take

    encode_take(take, path, CONTAINER)


OUTPUT = Output(
    name="webm",
    suffix=".webm",
    content_type="video/webm",
    description="WebM (VP9)",
    write=write,
    kind=VIDEO,
    stem="take",
    alpha=True,
    frames=True,
    order=30,
)
