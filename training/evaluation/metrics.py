"""Metrics of sampled motion: those of the paper (arXiv 2401.01885, 5.1), lips and speed.

Letters: S samples of each sequence, n sequences, C channels, T frames, V vertices; arrays are
[S, n, C, T] unless noted.
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
    """[S, n, C, T] -> one row per frame, [S n T, C]."""
    return motion.transpose(0, 1, 3, 2).reshape(-1, motion.shape[2])


def differences_of(motion: Array) -> Array:
    """[S, n, C, T] -> one row per pair of consecutive frames, [S n (T - 1), C]."""
    return frames_of(np.diff(motion, axis=3))


def cross_sample_variance(motion: Array) -> float:
    """Div_sample: variance between the samples of a sequence."""
    return float(motion.var(0).mean())


def variance_over_time(motion: Array) -> float:
    """Div_k: variance of a sequence over time."""
    return float(motion.var(3).mean())


def sample_pairs(frames: int, generator: Generator, pairs: int = PAIRS) -> tuple[Indices, Indices]:
    """Sample two independent sets of frames without replacement; at most all frames."""
    count = min(pairs, frames)
    first, second = (generator.choice(frames, count, replace=False) for _ in range(2))
    return first, second


def pair_distance(motion: Array, first: Indices, second: Indices) -> float:
    """Div_g: mean distance of poses over pairs of frames."""
    frames = frames_of(motion)
    return float(np.linalg.norm(frames[first] - frames[second], axis=1).mean())


def frechet_distance(one: Array, other: Array) -> float:
    """Frechet distance of normal distributions of rows [N, C] and [M, C] (arXiv 1706.08500, eq. 6).

    The trace of sqrt(A B) equals that of sqrt(a B a) with a = sqrt(A), a symmetric matrix, which is
    stable for constant channels.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    crossed = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    gap = one.mean(0) - other.mean(0)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * crossed)


def vertex_distances(one: Array, other: Array) -> Array:
    """Distances of vertices [T, V, 3], [T, V]."""
    return np.linalg.norm(one - other, axis=-1)


def lip_vertex_error(predicted: Array, true: Array) -> Array:
    """Mean distance of lip vertices [T, V, 3] in each frame, [T]."""
    return vertex_distances(predicted, true).mean(1)


def largest_lip_error(predicted: Array, true: Array) -> Array:
    """Largest distance of a lip vertex in each frame, [T].

    Its mean is the lip vertex error of MeshTalk (arXiv 2104.08223).
    """
    return vertex_distances(predicted, true).max(1)


def speed(motion: Array, frame_rate: float) -> Array:
    """Mean absolute speed of the channels between frames: [..., T, C] -> [..., T - 1].

    In rad/s for angles in rad.
    """
    return np.abs(np.diff(motion, axis=-2)).mean(-1) * frame_rate


def correlation(a: Array, b: Array) -> float:
    """Pearson's r; 0 if one of the two is constant."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
