"""QuickTime with ProRes 4444 and PCM: for editing, with alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import VIDEO, Output
from worker.pipeline.media.container import Container, Encoder

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take

# A finer quantiser gives larger files without a visible difference.
PRORES = Encoder(
    "prores_ks", ("-profile:v", "4444", "-alpha_bits", "16", "-vendor", "apl0", "-qscale:v", "2")
)
CONTAINER = Container(
    encoder=PRORES,
    opaque="yuv444p10le",
    alpha="yuva444p10le",
    audio=("-c:a", "pcm_s16le"),
    muxer=("-movflags", "+faststart", "-f", "mov"),
)


def write(take: Take, path: Path) -> None:
    """Encode the take."""
    from worker.pipeline.media.encode import encode_take

    encode_take(take, path, CONTAINER)


OUTPUT = Output(
    name="mov",
    suffix=".mov",
    content_type="video/quicktime",
    description="QuickTime (ProRes 4444)",
    write=write,
    kind=VIDEO,
    stem="take",
    alpha=True,
    frames=True,
    embeds_manifest=True,
    order=20,
)
