"""Fragmented MP4 with H.264 and AAC: can be watched while it is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from contracts.outputs import VIDEO, Output
from worker.pipeline.media.container import X264, Container, Encoder

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take

EACH_SECOND = ("-g", "30")  # a key frame begins a fragment
# No frame waits for later ones, so the first second can be played once it is rendered.
AT_ONCE = Encoder("libx264", ("-preset", "veryfast", "-crf", "20", "-tune", "zerolatency"))
CONTAINER = Container(
    encoder=AT_ONCE,
    opaque="yuv420p",
    alpha=None,
    audio=("-c:a", "aac", "-b:a", "160k"),
    muxer=(
        "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-flush_packets", "1",
        "-f", "mp4",
    ),
)  # fmt: skip


def write(take: Take, path: Path) -> None:
    """Encode the take with the encoder of this machine."""
    from worker.pipeline.media.encode import encode_take

    encoder = AT_ONCE if take.encoder == X264 else take.encoder
    encoder = replace(encoder, options=(*encoder.options, *EACH_SECOND))
    encode_take(take, path, replace(CONTAINER, encoder=encoder))


OUTPUT = Output(
    name="fmp4",
    suffix=".mp4",
    content_type="video/mp4",
    description="MP4 that can be watched while it is made",
    write=write,
    kind=VIDEO,
    stem="take",
    frames=True,
    live=True,
    order=15,
)
