"""Results in the format of the reference, read as its scripts read them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.formats.results import Results, ResultsError
from models.released.results import released_results, write_released_results
from tests.tiny_person import tiny_statistics
from tests.training.results import random_results


def read_as_the_reference(path: Path) -> dict:
    return np.load(path, allow_pickle=True).item()


def written(tmp_path: Path, results: Results, kind: str) -> dict:
    write_released_results(
        tmp_path / kind / "results.npy", released_results(results, kind, tiny_statistics())
    )
    return read_as_the_reference(tmp_path / kind / "results.npy")


@pytest.mark.parametrize(("kind", "channels"), [("face", 256), ("pose", 104)])
def test_names_shapes_and_types_are_those_of_the_reference(
    tmp_path: Path, kind: str, channels: int
) -> None:
    content = written(tmp_path, random_results(), kind)
    keys = (6, 60, 256) if kind == "face" else (6, 2, 104)
    assert {name: (array.shape, array.dtype.name) for name, array in content.items()} == {
        "motions": ((6, channels, 1, 60), "float64"),
        "gt": ((6, channels, 1, 60), "float64"),
        "audio": ((6, 96_000, 2), "float32"),
        "lengths": ((6,), "int64"),
        "keyframes": (keys, "float32"),
    }


def test_samples_are_ordered_by_repetition(tmp_path: Path) -> None:
    results = random_results(lengths=[60, 40, 50])
    assert results.pose is not None
    content = written(tmp_path, results, "pose")
    for repetition in range(2):
        for sample in range(3):
            index = repetition * 3 + sample
            assert np.array_equal(
                content["motions"][index, :, 0].T, results.pose[repetition, sample]
            )
            assert np.array_equal(content["gt"][index, :, 0].T, results.true_pose[sample])
            assert np.array_equal(content["audio"][index], results.audio[sample])
    assert content["lengths"].tolist() == [60, 40, 50, 60, 40, 50]


def test_key_poses_are_normalised(tmp_path: Path) -> None:
    results = random_results()
    assert results.key_poses is not None
    keys = written(tmp_path, results, "pose")["keyframes"]
    np.testing.assert_allclose(keys[4], results.key_poses[1, 1] / 0.02, rtol=1e-5)


def test_a_face_that_was_not_tracked_is_the_mean(tmp_path: Path) -> None:
    present = np.ones((3, 60), bool)
    present[1, 7] = False
    content = written(tmp_path, replace(random_results(), face_present=present), "face")
    np.testing.assert_allclose(content["gt"][[1, 4], :, 0, 7], 0.01, rtol=1e-6)
    assert not content["keyframes"][[1, 4], 7].any()
    assert content["keyframes"][[1, 4], 8].all()


def test_results_without_the_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="face is missing"):
        written(tmp_path, replace(random_results(), face=None), "face")
