"""`python -m training sample` and `evaluate`, from the command line to their files."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.formats.results import read_results, write_results
from tests.tiny_person import write_tiny_person
from tests.training.results import random_results
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


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
    main()


def arguments(name: str, person: Path, data: Path, *more: object) -> tuple[object, ...]:
    short = ("--max-seq-length", FRAMES, "--num-repetitions", 1)
    return (name, "--person", person, "--data", data, *short, *more)


def test_the_test_split_is_sampled_into_both_formats(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    more = ("--out", out, "--num-samples", 2, "--steps", "ddim2", "--released-format")
    command(monkeypatch, *arguments("sample", person, data, *more))
    results = read_results(out / "results.npz")
    assert (results.repetitions, results.samples, results.frames) == (1, 2, FRAMES)
    assert set(results.scenes) <= {"scene3", "scene4", "scene5", "scene6"}
    assert results.options == {
        "person": "demo", "data": "PXB184", "split": "test", "flipped": False,
        "max_seq_length": FRAMES, "repetitions": 1, "seed": 10, "steps": 2,
        "guidance_face": 1.5, "guidance_body": 1.5, "diversity": 0.9, "network": "both",
        "key_poses": "guide", "sampler": "ddim", "guidance_until": 0,
    }  # fmt: skip
    for kind in ("face", "pose"):
        released = np.load(out / kind / "results.npy", allow_pickle=True).item()
        assert np.array_equal(released["motions"][1, :, 0].T, getattr(results, kind)[0, 1])
    output = capsys.readouterr().out
    assert "4 scenes with cuts, scene3 to scene6; 4 cuts of 120 frames, 2 chosen" in output
    assert str(out / "results.npz") in output


def test_guidance_applies_to_the_sampled_network_and_true_key_poses_can_be_used(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--out", tmp_path, "--num-samples", 1, "--guidance", 3, "--network", "body")
    command(monkeypatch, *arguments("sample", person, data, *more, "--true-keys", "--seed", 4))
    results = read_results(tmp_path / "results.npz")
    assert results.face is None
    assert results.options["guidance_body"] == 3
    assert results.options["seed"] == 4
    assert results.key_poses is not None
    np.testing.assert_allclose(results.key_poses[0], results.true_pose[:, ::30], atol=1e-5)


@pytest.mark.parametrize("named", [False, True])
def test_a_flipped_person_has_the_partners_recordings_and_audio(
    named: bool, person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = data.with_name("RLW104")
    flip = ("--flip-person", partner) if named else ("--flip-person",)
    more = ("--out", tmp_path, "--network", "face", *flip)
    command(monkeypatch, *arguments("sample", person, data, *more))
    results = read_results(tmp_path / "results.npz")
    assert results.scenes.tolist() == ["scene9"]
    assert results.options["flipped"] is True
    assert results.options["data"] == "RLW104"
    codes = np.load(partner / "scene9_face_expression.npy")
    assert np.array_equal(results.true_face[0], codes[:FRAMES])


def test_a_line_reports_fewer_cuts_than_requested(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ("--out", tmp_path, "--split", "val", "--num-samples", 9, "--network", "face")
    command(monkeypatch, *arguments("sample", person, data, *more))
    assert "--num-samples is 9, but only 2 exist" in capsys.readouterr().out
    assert read_results(tmp_path / "results.npz").samples == 2


def test_samples_are_evaluated_and_figures_written(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    more = ("--json", tmp_path / "figures.json", "--num-samples", 2)
    command(monkeypatch, *arguments("evaluate", person, data, *more))
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["options", "body", "face", "lips", "sampling", "left_out"]
    assert figures["options"]["repetitions"] == 1
    assert f"{figures['body']['FD_g']['predicted']:.4g}" in capsys.readouterr().out


def test_existing_results_are_evaluated(
    person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    face_only = replace(random_results(samples=1), pose=None, key_poses=None)
    write_results(tmp_path / "results.npz", face_only)
    more = ("--results", tmp_path / "results.npz", "--plots", tmp_path / "plots")
    command(monkeypatch, "evaluate", "--person", person, *more)
    output = capsys.readouterr().out
    assert "vertex_error" in output
    assert str(tmp_path / "plots" / "lips.png") in output


@pytest.mark.parametrize(
    "invalid",
    [
        ("--steps", "few"),
        ("--num-samples", 0),
        ("--guide", "--true-keys"),
        ("--split", "best"),
    ],
)
def test_an_invalid_option_is_one_sentence(
    invalid: tuple[object, ...], person: Path, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, *arguments("sample", person, data, "--out", tmp_path, *invalid))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m training sample: argument --")


def test_evaluate_takes_data_or_results(
    person: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for more in ((), ("--data", data, "--results", tmp_path)):
        with pytest.raises(SystemExit, match="2"):
            command(monkeypatch, "evaluate", "--person", person, *more)
        assert "needs either --data to sample, or --results" in capsys.readouterr().err


def test_a_folder_without_a_person_is_rejected(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, *arguments("sample", tmp_path, data, "--out", tmp_path))
    assert "no person at" in capsys.readouterr().err
