"""Person and motion of a take as binary glTF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take


def write(take: Take, path: Path) -> None:
    """Write the take."""
    from models.animation.gltf.glb import SHAPE_RATE, write_glb

    rate = float(take.options.option("mesh_rate", SHAPE_RATE))
    write_glb(path, take.figure(), take.rows(), shape_rate=rate)


OUTPUT = Output(
    name="glb",
    suffix=".glb",
    content_type="model/gltf-binary",
    description="person with motion (glTF)",
    write=write,
    stem="motion",
    order=70,
)
