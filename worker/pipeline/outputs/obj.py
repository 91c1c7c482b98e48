"""Mesh of one frame of a take as Wavefront OBJ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take


def write(take: Take, path: Path) -> None:
    """Write the take."""
    from models.animation.obj import write_obj

    frame = int(take.options.option("frame", 0))
    write_obj(path, take.figure(), take.rows(), frame=frame)


OUTPUT = Output(
    name="obj",
    suffix=".obj",
    content_type="model/obj",
    description="mesh of one frame (OBJ)",
    write=write,
    stem="mesh",
    order=100,
)
