"""Results files: round trips, and errors for arrays that do not match."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from models.formats.results import Results, ResultsError, read_results, write_results
from tests.training.results import random_results


def same(one: Results, other: Results) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(Results)
    )


def test_results_survive_a_round_trip(tmp_path: Path) -> None:
    write_results(tmp_path / "new" / "results.npz", random_results())
    assert same(read_results(tmp_path / "new" / "results.npz"), random_results())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.npz"]


@pytest.mark.parametrize("missing", [("face",), ("pose", "key_poses")])
def test_arrays_not_sampled_are_left_out(tmp_path: Path, missing: tuple[str, ...]) -> None:
    results = replace(random_results(), **dict.fromkeys(missing))
    write_results(tmp_path / "results.npz", results)
    assert same(read_results(tmp_path / "results.npz"), results)


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_results(tmp_path / name, random_results())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"face": np.zeros((2, 3, 59, 256), np.float32)}, r"face: found \[2, 3, 59, 256\]"),
        ({"pose": np.zeros((2, 3, 60, 103), np.float32)}, "pose: found .* 'p' must be 104"),
        ({"audio": np.zeros((3, 1600, 2), np.float32)}, "audio: 1600 samples for 60 frames"),
        ({"seeds": np.zeros(6, np.int64)}, r"seeds: must be \[R, N\], found \[6\]"),
        ({"lengths": np.zeros(3)}, "lengths: must have dtype kind 'i', found float64"),
        ({"true_face": None}, "results: true_face is missing"),
    ],
)
def test_results_that_do_not_match_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        replace(random_results(), **wrong)


def test_a_pickle_in_a_results_file_is_not_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "results.npz", schema=np.array(Trap(), dtype=object))
    with pytest.raises(ResultsError, match="not a results file"):
        read_results(tmp_path / "results.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps({"face": 1})])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.npz").write_bytes(content)
    with pytest.raises(ResultsError, match="not a results file"):
        read_results(tmp_path / "results.npz")


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "motion.npy", np.zeros(3))
    with pytest.raises(ResultsError, match="not a results file"):
        read_results(tmp_path / "motion.npy")


def test_missing_incomplete_and_newer_files_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(ResultsError, match=r"results not found; .* training sample"):
        read_results(tmp_path / "results.npz")
    np.savez(tmp_path / "none.npz", face=np.zeros(3))
    with pytest.raises(ResultsError, match="unknown schema 0, expected 1"):
        read_results(tmp_path / "none.npz")
    np.savez(tmp_path / "later.npz", schema=2)
    with pytest.raises(ResultsError, match="unknown schema 2, expected 1"):
        read_results(tmp_path / "later.npz")
    np.savez(tmp_path / "empty.npz", schema=1)
    with pytest.raises(ResultsError, match=r"missing arrays: audio, face_present, .*true_pose"):
        read_results(tmp_path / "empty.npz")
    np.savez(tmp_path / "more.npz", schema=1, hands=np.zeros(2))
    with pytest.raises(ResultsError, match="unknown arrays: hands"):
        read_results(tmp_path / "more.npz")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("options", np.array("{"), "damaged: Expecting"),
        ("sampling_seconds", np.zeros(2), "damaged"),
        ("lengths", np.zeros(7, np.int64), r"damaged: lengths: found \[7\]"),
    ],
)
def test_the_error_for_an_invalid_array_names_the_file(
    tmp_path: Path, name: str, value: np.ndarray, message: str
) -> None:
    write_results(tmp_path / "results.npz", random_results())
    with np.load(tmp_path / "results.npz") as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(tmp_path / "wrong.npz", **{**arrays, name: value})
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path / "wrong.npz")
