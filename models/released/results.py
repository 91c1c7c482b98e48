"""Results in the reference's form, for scripts that read its `results.npy`.

The file is a pickled dict in an object array, which is how the reference reads and writes it.
Here it is only written: nothing of ours opens one.
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
    """The dict that the reference keeps for the "face" or the "pose".

    Index n is repetition * samples + sample. `motions` and `gt` [n, C, 1, T] are float64;
    `keyframes` are normalised, as the networks take them: for the face every frame of the truth.
    """
    motion = results.face if kind == "face" else results.pose
    if motion is None:
        raise ResultsError(f"these results have no {kind}")
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
    """numpy.save of the dict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


def _face(results: Results, statistics: Statistics) -> tuple[Array, Array]:
    """True codes, the mean where the face was not seen; and the same normalised, every frame."""
    mean, std = _numbers(statistics.code_mean), _numbers(statistics.code_std)
    true = np.where(results.face_present[..., None], results.true_face, mean)
    return true, _tiled(((true - mean) / std).astype(np.float32), results.repetitions)


def _pose(results: Results, statistics: Statistics) -> tuple[Array, Array]:
    if results.key_poses is None:
        raise ResultsError("these results have a pose and no key poses")
    mean, std = _numbers(statistics.pose_mean), _numbers(statistics.pose_std)
    keys = results.key_poses.reshape(-1, *results.key_poses.shape[2:])
    return results.true_pose, ((keys - mean) / std).astype(np.float32)


def _numbers(values: Any) -> Array:
    return np.asarray(values.cpu(), np.float64)


def _tiled(values: Array, repetitions: int) -> Array:
    """[N, ...] -> [R N, ...], repetition by repetition."""
    return np.tile(values, (repetitions, *[1] * (values.ndim - 1)))


def _channels_first(motion: Array) -> Array:
    """[n, T, C] -> [n, C, 1, T] float64."""
    return motion.transpose(0, 2, 1)[:, :, None].astype(np.float64)
