"""Motion of a take as numpy arrays (npz)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take


def write(take: Take, path: Path) -> None:
    """Write the arrays that docs/animation.md lists."""
    from models.animation.figure import AnimationError
    from models.animation.npz import write_npz

    try:
        figure = take.figure()
    except AnimationError:
        figure = None  # a kind of avatar without a skeleton: only the motion
    write_npz(path, figure, take.rows(), person=take.person, seed=take.seed)


OUTPUT = Output(
    name="motion",
    suffix=".npz",
    content_type="application/octet-stream",
    description="motion as numpy arrays",
    write=write,
    aliases=("npz",),
    order=50,
)
