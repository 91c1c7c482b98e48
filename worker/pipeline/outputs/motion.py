"""Motion of a take as numpy arrays (npz)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.outputs import Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.pipeline.take import Take


def write(take: Take, path: Path) -> None:
    """Write face codes, pose, frame rate, person and seed; docs/api.md describes the arrays."""
    import numpy as np

    from worker.pipeline.encode import FRAME_RATE

    with path.open("wb") as file:  # numpy would append .npz to another name
        np.savez(
            file,
            face=take.motion.face.numpy(),
            pose=take.motion.pose.numpy(),
            frame_rate=np.int64(FRAME_RATE),
            person=np.str_(take.person),
            seed=np.int64(take.seed),
        )


OUTPUT = Output(
    name="motion",
    suffix=".npz",
    content_type="application/octet-stream",
    description="motion as numpy arrays",
    write=write,
    order=50,
)
