"""Results in the format of the reference, for scripts that read its `results.npy`.

The file is a pickled dict in an object array, as the reference reads and writes it. This project
only writes it and never loads one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.formats.results import ResultsError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.formats.results import Results
    from models.motion.statistics import Statistics

    Array = NDArray[Any]

RELEASED_RESULTS = "results.npy"


def released_results(results: Results, kind: str, statistics: Statistics) -> dict[str, Array]:
    """Dict of the reference for the "face" or the "pose".

    Index n is repetition * samples + sample. `motions` and `gt` [n, C, 1, T] are float64;
    `keyframes` are normalised as for the networks; for the face they are all frames of the truth.

    Raises: ResultsError: when the results do not contain this kind.
    """
    motion = results.face if kind == "face" else results.pose
    if motion is None:
        raise ResultsError(f"results: {kind} is missing")
    true, keys = _face(results, statistics) if kind == "face" else _pose(results, statistics)
    repeated = results.repetitions
    return {
        "motions": _channels_first(motion.reshape(-1, *motion.shape[2:])),
        "gt": _channels_first(_tiled(true, repeated)),
        "audio": _tiled(results.audio, repeated),
        "lengths": _tiled(results.lengths, repeated),
        "keyframes": keys,
    }


def write_released_results(path: Path, content: dict[str, Array]) -> None:
    """Write the dict with numpy.save."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


def _face(results: Results, statistics: Statistics) -> tuple[Array, Array]:
    """True codes, or the mean where the face was not tracked, plain and normalised."""
    mean, std = _numbers(statistics.code_mean), _numbers(statistics.code_std)
    true = np.where(results.face_present[..., None], results.true_face, mean)
    return true, _tiled(((true - mean) / std).astype(np.float32), results.repetitions)


def _pose(results: Results, statistics: Statistics) -> tuple[Array, Array]:
    if results.key_poses is None:
        raise ResultsError("results: key_poses is missing for the pose")
    mean, std = _numbers(statistics.pose_mean), _numbers(statistics.pose_std)
    keys = results.key_poses.reshape(-1, *results.key_poses.shape[2:])
    return results.true_pose, ((keys - mean) / std).astype(np.float32)


def _numbers(values: Any) -> Array:
    return np.asarray(values.cpu(), np.float64)


def _tiled(values: Array, repetitions: int) -> Array:
    """Repeat [N, ...] -> [R N, ...], ordered by repetition."""
    return np.tile(values, (repetitions, *[1] * (values.ndim - 1)))


def _channels_first(motion: Array) -> Array:
    """Transpose [n, T, C] -> [n, C, 1, T] float64."""
    return motion.transpose(0, 2, 1)[:, :, None].astype(np.float64)
