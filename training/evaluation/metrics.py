"""What is measured on sampled motion: the paper's figures (arXiv 2401.01885, 5.1), lips and speed.

Letters: S samples drawn for each sequence, n sequences, C channels, T frames, V vertices; arrays
are [S, n, C, T] where nothing else is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Indices = NDArray[np.int64]

PAIRS = 10_000


def frames_of(motion: Array) -> Array:
    """[S, n, C, T] -> one row for each frame, [S n T, C]."""
    return motion.transpose(0, 1, 3, 2).reshape(-1, motion.shape[2])


def differences_of(motion: Array) -> Array:
    """[S, n, C, T] -> one row for each pair of neighbours in time, [S n (T - 1), C]."""
    return frames_of(np.diff(motion, axis=3))


def cross_sample_variance(motion: Array) -> float:
    """Div_sample: how much samples of one sequence differ."""
    return float(motion.var(0).mean())


def variance_over_time(motion: Array) -> float:
    """Div_k: how much a sequence moves."""
    return float(motion.var(3).mean())


def drawn_pairs(frames: int, generator: Generator, pairs: int = PAIRS) -> tuple[Indices, Indices]:
    """Two independent draws of frames, each without repeats; fewer where there are fewer frames."""
    count = min(pairs, frames)
    first, second = (generator.choice(frames, count, replace=False) for _ in range(2))
    return first, second


def pair_distance(motion: Array, first: Indices, second: Indices) -> float:
    """Div_g: the mean distance of poses, over pairs of frames."""
    frames = frames_of(motion)
    return float(np.linalg.norm(frames[first] - frames[second], axis=1).mean())


def frechet_distance(one: Array, other: Array) -> float:
    """Between normal distributions fitted to rows [N, C] and [M, C] (arXiv 1706.08500, eq. 6).

    The trace of the root of A B is that of the root of a B a with a the root of A: the same number,
    but of a symmetric matrix, so that channels that never move do no harm.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    crossed = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    gap = one.mean(0) - other.mean(0)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * crossed)


def vertex_distances(one: Array, other: Array) -> Array:
    """How far vertices [T, V, 3] are from each other, [T, V]."""
    return np.linalg.norm(one - other, axis=-1)


def lip_vertex_error(predicted: Array, true: Array) -> Array:
    """Mean distance of the lip vertices [T, V, 3] in each frame, [T]."""
    return vertex_distances(predicted, true).mean(1)


def largest_lip_error(predicted: Array, true: Array) -> Array:
    """Distance of the lip vertex that is furthest off in each frame, [T].

    Its mean is the lip vertex error of MeshTalk (arXiv 2104.08223).
    """
    return vertex_distances(predicted, true).max(1)


def speed(motion: Array, frame_rate: float) -> Array:
    """Mean absolute speed of the channels between neighbours in time: [..., T, C] -> [..., T - 1].

    For angles in rad, rad/s.
    """
    return np.abs(np.diff(motion, axis=-2)).mean(-1) * frame_rate


def correlation(a: Array, b: Array) -> float:
    """Pearson's r; 0 where one of the two does not move."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
