"""Skeleton motion of a take as BVH."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take


def write(take: Take, path: Path) -> None:
    """Write the take."""
    from models.animation.bvh import write_bvh

    write_bvh(path, take.figure(), take.rows())


OUTPUT = Output(
    name="bvh",
    suffix=".bvh",
    content_type="text/plain",
    description="skeleton motion (BVH)",
    write=write,
    stem="motion",
    order=60,
)
