"""`python -m training sample` and `evaluate`, from the command line to files."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.formats.results import read_results, write_results
from tests.tiny_person import write_tiny_person
from tests.training.drawn import drawn
from tests.training.scenes import write_scene
from training.__main__ import main

FRAMES = 120


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_person(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven scenes with a cut each; PXB184 and her partner."""
    folder = tmp_path_factory.mktemp("dataset")
    for number in range(7):
        write_scene(folder / "PXB184", f"scene{number}", FRAMES + 1 + number)
    write_scene(folder / "RLW104", "scene9", FRAMES + 9)
    return folder / "PXB184"


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *map(str, words)])
    main()


def words(what: str, person: Path, data: Path, *more: object) -> tuple[object, ...]:
    short = ("--max-seq-length", FRAMES, "--num-repetitions", 1)
    return (what, "--person", person, "--data", data, *short, *more)


def test_the_test_split_is_sampled_into_both_forms(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    more = ("--out", out, "--num-samples", 2, "--steps", "ddim2", "--released-format")
    command(monkeypatch, *words("sample", person, data, *more))
    results = read_results(out / "results.npz")
    assert (results.repetitions, results.samples, results.frames) == (1, 2, FRAMES)
    assert set(results.scenes) <= {"scene3", "scene4", "scene5", "scene6"}
    assert results.options == {
        "person": "demo", "data": "PXB184", "split": "test", "flipped": False,
        "max_seq_length": FRAMES, "repetitions": 1, "seed": 10, "steps": 2,
        "guidance_face": 1.5, "guidance_body": 1.5, "diversity": 0.9, "network": "both",
        "key_poses": "guide",
    }  # fmt: skip
    for kind in ("face", "pose"):
        released = np.load(out / kind / "results.npy", allow_pickle=True).item()
        assert np.array_equal(released["motions"][1, :, 0].T, getattr(results, kind)[0, 1])
    said = capsys.readouterr().out
    assert "4 scenes with cuts, scene3 to scene6; 4 cuts of 120 frames, 2 drawn" in said
    assert str(out / "results.npz") in said


def test_guidance_is_of_what_is_drawn_and_true_keys_can_lead(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--out", tmp_path, "--num-samples", 1, "--guidance", 3, "--network", "body")
    command(monkeypatch, *words("sample", person, data, *more, "--true-keys", "--seed", 4))
    results = read_results(tmp_path / "results.npz")
    assert results.face is None
    assert results.options["guidance_body"] == 3
    assert results.options["seed"] == 4
    assert results.key_poses is not None
    np.testing.assert_allclose(results.key_poses[0], results.true_pose[:, ::30], atol=1e-5)


@pytest.mark.parametrize("named", [False, True])
def test_a_flipped_person_has_the_partners_recordings_and_sound(
    named: bool, person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = data.with_name("RLW104")
    flip = ("--flip-person", partner) if named else ("--flip-person",)
    more = ("--out", tmp_path, "--network", "face", *flip)
    command(monkeypatch, *words("sample", person, data, *more))
    results = read_results(tmp_path / "results.npz")
    assert results.scenes.tolist() == ["scene9"]
    assert results.options["flipped"] is True
    assert results.options["data"] == "RLW104"
    codes = np.load(partner / "scene9_face_expression.npy")
    assert np.array_equal(results.true_face[0], codes[:FRAMES])


def test_fewer_cuts_than_were_asked_for_are_told(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ("--out", tmp_path, "--split", "val", "--num-samples", 9, "--network", "face")
    command(monkeypatch, *words("sample", person, data, *more))
    assert "9 samples were asked for; there are no more" in capsys.readouterr().out
    assert read_results(tmp_path / "results.npz").samples == 2


def test_samples_are_evaluated_and_figures_and_pictures_written(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ("--json", tmp_path / "figures.json", "--num-samples", 2)
    command(monkeypatch, *words("evaluate", person, data, *more))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["options", "body", "face", "lips", "sampling", "left_out"]
    assert figures["options"]["repetitions"] == 1
    assert f"{figures['body']['FD_g']['predicted']:.4g}" in capsys.readouterr().out


def test_results_that_are_there_are_evaluated(
    person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_results(tmp_path / "results.npz", replace(drawn(samples=1), pose=None, key_poses=None))
    more = ("--results", tmp_path / "results.npz", "--plots", tmp_path / "plots")
    command(monkeypatch, "evaluate", "--person", person, *more)
    said = capsys.readouterr().out
    assert "vertex_error" in said
    assert str(tmp_path / "plots" / "lips.png") in said


@pytest.mark.parametrize(
    "wrong",
    [
        ("--steps", "few"),
        ("--num-samples", 0),
        ("--guide", "--true-keys"),
        ("--split", "best"),
    ],
)
def test_an_option_that_cannot_be_says_how_it_is_used(
    wrong: tuple[object, ...], person: Path, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, *words("sample", person, data, "--out", tmp_path, *wrong))
    assert "usage: python -m training sample" in capsys.readouterr().err


def test_evaluate_takes_data_or_results(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more in ((), ("--data", data, "--results", tmp_path)):
        with pytest.raises(SystemExit, match=r"needs --data to sample, or --results"):
            command(monkeypatch, "evaluate", "--person", person, *more)


def test_a_folder_that_is_no_person_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"no person.json in"):
        command(monkeypatch, *words("sample", tmp_path, data, "--out", tmp_path))
