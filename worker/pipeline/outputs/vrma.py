"""Motion of a take as VRM animation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take


def write(take: Take, path: Path) -> None:
    """Write the take."""
    from models.animation.gltf.vrma import write_vrma

    write_vrma(path, take.figure(), take.rows())


OUTPUT = Output(
    name="vrma",
    suffix=".vrma",
    content_type="model/gltf-binary",
    description="motion for any VRM avatar (VRM animation)",
    write=write,
    stem="motion",
    order=90,
)
