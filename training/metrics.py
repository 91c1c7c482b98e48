"""What the paper measures on sampled motion (arXiv 2401.01885, 5.1).

Letters: S samples drawn for each sequence, n sequences, C channels, T frames; arrays are
[S, n, C, T].
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Indices = NDArray[np.int64]

PAIRS = 10_000
JITTER = 1e-6  # on the diagonals of covariances whose root is not finite
IMAGINARY = 1e-3  # more of it in a root's diagonal is an error, less is rounding


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

    ValueError where the root of the covariances is not real.
    """
    from scipy.linalg import LinAlgWarning, sqrtm  # not on every machine that trains

    one, other = one.astype(np.float64), other.astype(np.float64)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    with warnings.catch_warnings():  # a channel that never moves makes them singular, and no harm
        warnings.simplefilter("ignore", LinAlgWarning)
        root = sqrtm(first @ second)
    if not np.isfinite(root).all():
        jitter = JITTER * np.eye(len(first))
        root = sqrtm((first + jitter) @ (second + jitter))
    if np.iscomplexobj(root):
        largest = float(np.abs(np.diagonal(root).imag).max())
        if largest > IMAGINARY:
            raise ValueError(f"the root of the covariances has an imaginary part of {largest:.3g}")
        root = root.real
    gap = one.mean(0) - other.mean(0)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.trace(root))


def frechet_of_poses(predicted: Array, true: Array) -> float:
    """FD_g."""
    return frechet_distance(frames_of(true), frames_of(predicted))


def frechet_of_motion(predicted: Array, true: Array) -> float:
    """FD_k."""
    return frechet_distance(differences_of(true), differences_of(predicted))
