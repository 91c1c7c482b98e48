"""Results on disk: they come back as they were, and what does not fit is told."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from models.formats.results import Results, ResultsError, read_results, write_results
from tests.training.drawn import drawn


def same(one: Results, other: Results) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(Results)
    )


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    write_results(tmp_path / "new" / "results.npz", drawn())
    assert same(read_results(tmp_path / "new" / "results.npz"), drawn())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.npz"]


@pytest.mark.parametrize("missing", [("face",), ("pose", "key_poses")])
def test_what_was_not_drawn_is_left_out(tmp_path: Path, missing: tuple[str, ...]) -> None:
    results = replace(drawn(), **dict.fromkeys(missing))
    write_results(tmp_path / "results.npz", results)
    assert same(read_results(tmp_path / "results.npz"), results)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_results(tmp_path / name, drawn())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"face": np.zeros((2, 3, 59, 256), np.float32)}, r"face is \[2, 3, 59, 256\]"),
        ({"pose": np.zeros((2, 3, 60, 103), np.float32)}, "pose is .* where 104 of 'p' fit"),
        ({"audio": np.zeros((3, 1600, 2), np.float32)}, "audio has 1600 samples for 60 frames"),
        ({"seeds": np.zeros(6, np.int64)}, r"seeds must be \[R, N\], got \[6\]"),
        ({"lengths": np.zeros(3)}, "lengths has numbers of kind float64"),
        ({"true_face": None}, "results lack true_face"),
    ],
)
def test_results_that_do_not_fit_together_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(ResultsError, match=told):
        replace(drawn(), **wrong)


def test_a_pickle_in_a_results_file_is_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "results.npz", schema=np.array(Trap(), dtype=object))
    with pytest.raises(ResultsError, match="no results file"):
        read_results(tmp_path / "results.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps({"face": 1})])
def test_a_file_that_is_no_results_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.npz").write_bytes(content)
    with pytest.raises(ResultsError, match="no results file"):
        read_results(tmp_path / "results.npz")


def test_a_single_array_is_no_results(tmp_path: Path) -> None:
    np.save(tmp_path / "motion.npy", np.zeros(3))
    with pytest.raises(ResultsError, match="no results file"):
        read_results(tmp_path / "motion.npy")


def test_a_file_that_is_not_there_or_of_another_schema_or_incomplete_is_told(
    tmp_path: Path,
) -> None:
    with pytest.raises(ResultsError, match=r"no results at .* training sample"):
        read_results(tmp_path / "results.npz")
    np.savez(tmp_path / "none.npz", face=np.zeros(3))
    with pytest.raises(ResultsError, match="has schema 0, expected 1"):
        read_results(tmp_path / "none.npz")
    np.savez(tmp_path / "later.npz", schema=2)
    with pytest.raises(ResultsError, match="has schema 2, expected 1"):
        read_results(tmp_path / "later.npz")
    np.savez(tmp_path / "empty.npz", schema=1)
    with pytest.raises(ResultsError, match=r"lacks audio, face_present, .*true_pose"):
        read_results(tmp_path / "empty.npz")
    np.savez(tmp_path / "more.npz", schema=1, hands=np.zeros(2))
    with pytest.raises(ResultsError, match="not known: hands"):
        read_results(tmp_path / "more.npz")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("options", np.array("{"), "damaged: Expecting"),
        ("sampling_seconds", np.zeros(2), "damaged"),
        ("lengths", np.zeros(7, np.int64), r"damaged: lengths is \[7\]"),
    ],
)
def test_an_array_that_does_not_belong_is_told_with_the_file(
    tmp_path: Path, name: str, value: np.ndarray, told: str
) -> None:
    write_results(tmp_path / "results.npz", drawn())
    with np.load(tmp_path / "results.npz") as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(tmp_path / "wrong.npz", **{**arrays, name: value})
    with pytest.raises(ResultsError, match=told):
        read_results(tmp_path / "wrong.npz")
