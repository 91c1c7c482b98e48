"""Face units of a take as CSV of Live Link Face."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take


def write(take: Take, path: Path) -> None:
    """Write the take."""
    from models.animation.live_link import write_live_link

    write_live_link(path, take.figure(), take.rows())


OUTPUT = Output(
    name="csv",
    suffix=".csv",
    content_type="text/csv",
    description="face units (Live Link Face CSV)",
    write=write,
    stem="face",
    face_units=True,
    order=80,
)
