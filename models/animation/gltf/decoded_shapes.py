"""Shapes of a surface that networks decode for each frame: a mean and principal components.

The displacements are those of the bind pose, so the skeleton moves the mesh, and the number of
shapes does not grow with the length of a take. Letters: N decoded frames, V vertices, K components.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.figure import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from models.animation.figure import Figure, Mesh
    from models.animation.rows import MotionRows

    Floats = NDArray[np.floating[Any]]

COMPONENTS = 16
MOST_SAMPLES = 64  # frames from which components are computed


@dataclass(frozen=True)
class DecodedShapes:
    """Components of a take's surface."""

    mesh: Mesh  # the mean of the take, with a shape for each component
    mean: Floats  # [V * 3] displacements in metres
    directions: Floats  # [K, V * 3] weights are products with these
    frames: NDArray[np.int64]  # frames of the take with weights
    error: float  # metres, root of the mean square over the samples

    def weights(self, figure: Figure, rows: MotionRows) -> Iterator[tuple[int, Floats]]:
        """Yield the number and the weights [K] of each of `frames`."""
        for number, frame in enumerate(self.frames):
            yield number, self.directions @ (_offsets(figure, rows, int(frame)) - self.mean)


def decoded_shapes(figure: Figure, rows: MotionRows, rate: float) -> DecodedShapes | None:
    """Compute shapes; None for surfaces that face units move. rate: weights a second."""
    if figure.surface.offsets(*_frame(rows, 0)) is None:
        return None
    count = max(2, round(rows.seconds * rate)) if rows.frames > 1 else 1
    frames = np.unique(np.linspace(0, rows.frames - 1, count).round().astype(np.int64))
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_SAMPLES).round().astype(np.int64))
    samples = np.stack([_offsets(figure, rows, int(frame)) for frame in frames[chosen]])
    mean = samples.mean(0)
    centred = samples - mean
    values, vectors = np.linalg.eigh(centred @ centred.T)
    kept = [k for k in np.argsort(-values)[:COMPONENTS] if values[k] > 1e-12 * max(values.max(), 1)]
    weights = vectors[:, kept]  # [N, K]
    spread = np.maximum(np.abs(weights).max(0), 1e-12)
    components = (centred.T @ weights).T * spread[:, None]  # [K, V * 3] at a weight of 1
    directions = components / np.maximum((components**2).sum(1, keepdims=True), 1e-24)
    remaining = centred - (centred @ directions.T) @ components
    error = float(np.sqrt((remaining.reshape(len(samples), -1, 3) ** 2).sum(-1).mean()))
    return DecodedShapes(_mesh(figure, mean, components), mean, directions, frames, error)


def _mesh(figure: Figure, mean: Floats, components: Floats) -> Mesh:
    neutral = np.zeros((1, figure.pose_width))
    face = np.zeros((1, figure.face_width))
    offsets = figure.surface.offsets(face, neutral)
    assert offsets is not None
    everywhere = np.arange(len(offsets[0]))
    shapes = tuple(
        Shape(f"surface{number:02d}", everywhere, moves.reshape(-1, 3))
        for number, moves in enumerate(components)
    )
    positions = figure.mesh.positions - offsets[0] + mean.reshape(-1, 3)
    return replace(figure.mesh, positions=positions, shapes=shapes)


def _offsets(figure: Figure, rows: MotionRows, frame: int) -> Floats:
    """Displacements of one frame, [V * 3]."""
    offsets = figure.surface.offsets(*_frame(rows, frame))
    assert offsets is not None
    return offsets[0].reshape(-1).astype(np.float64)


def _frame(rows: MotionRows, frame: int) -> tuple[Floats, Floats]:
    piece = rows.piece(frame, frame + 1)
    return piece.face, piece.pose
