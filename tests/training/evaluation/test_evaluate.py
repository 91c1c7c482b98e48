"""Figures of results: the truth has the best ones, and worse samples have worse ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.avatar.blendshape.model import load_blendshape
from models.formats.results import Results
from tests.tiny_person import write_tiny_person
from tests.training.results import perfect, random_results
from training.evaluation.evaluate import Figure, evaluate, shortened, table

FRAMES = 90


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_person(tmp_path_factory.mktemp("people"))


def with_faces(results: Results, person: Path) -> Results:
    """Results with face codes of this person, so that her lips move."""
    avatar = load_blendshape(person / "avatar.safetensors", device=torch.device("cpu"))
    units = len(avatar.unit_names)
    basis = avatar.face_basis.numpy()
    rng = np.random.default_rng(3)
    true = rng.uniform(0.2, 0.8, (*results.true_face.shape[:2], units)) @ basis.T
    true = true.astype(np.float32)
    return replace(results, true_face=true, face=np.tile(true, (results.repetitions, 1, 1, 1)))


@pytest.fixture(scope="module")
def truth(person: Path) -> Results:
    return with_faces(perfect(samples=4, frames=FRAMES), person)


def figures(results: Results, person: Path, group: str) -> dict[str, Figure]:
    return evaluate(results, person).figures[group]


def test_the_truth_is_perfect(truth: Results, person: Path) -> None:
    evaluation = evaluate(truth, person)
    assert evaluation.left_out == {}
    for group in ("body", "face"):
        of = evaluation.figures[group]
        assert of["FD_g"].predicted == pytest.approx(0, abs=1e-5)
        assert of["FD_k"].predicted == pytest.approx(0, abs=1e-5)
        assert of["Div_sample"].predicted == pytest.approx(0, abs=1e-9)
        assert of["Div_k"].predicted == pytest.approx(of["Div_k"].truth)
    body, lips = evaluation.figures["body"], evaluation.figures["lips"]
    assert body["speed"].predicted == pytest.approx(body["speed"].truth)
    assert body["beat_alignment"].predicted == pytest.approx(body["beat_alignment"].truth)
    assert lips["vertex_error"].predicted == lips["vertex_error"].truth == 0
    assert lips["opening_correlation"].predicted == pytest.approx(1)
    assert lips["opening_correlation_speaking"].predicted == pytest.approx(1)


def test_a_constant_mouth_has_the_figures_of_no_skill(truth: Results, person: Path) -> None:
    avatar = load_blendshape(person / "avatar.safetensors", device=torch.device("cpu"))
    units = torch.from_numpy(truth.true_face).reshape(-1, 256) @ avatar.face_basis
    mean = avatar.face_code(units.mean(0)[None]).numpy()
    assert truth.face is not None
    still = replace(truth, face=np.tile(mean, (*truth.face.shape[:3], 1)))
    lips = figures(still, person, "lips")
    for name in ("vertex_error", "largest_vertex_error", "vertex_error_speaking"):
        assert lips[name].predicted == pytest.approx(lips[name].no_skill, rel=1e-3)
        assert lips[name].no_skill > 0
    assert lips["opening_correlation"].predicted == pytest.approx(0, abs=1e-6)


def test_twice_the_motion_has_twice_the_speed(truth: Results, person: Path) -> None:
    assert truth.pose is not None
    body = figures(replace(truth, pose=2 * truth.pose), person, "body")
    assert body["speed"].predicted == pytest.approx(2 * body["speed"].truth)
    assert body["Div_g"].predicted > 1.5 * body["Div_g"].truth
    assert body["Div_k"].predicted == pytest.approx(4 * body["Div_k"].truth)
    assert body["FD_g"].predicted > 0.1


def test_repetitions_that_differ_have_variance(truth: Results, person: Path) -> None:
    assert truth.pose is not None
    pose = truth.pose.copy()
    pose[0] += 1
    body = figures(replace(truth, pose=pose), person, "body")
    assert body["Div_sample"].predicted == pytest.approx(0.25, rel=1e-4)


def test_frames_without_a_visible_face_do_not_count(truth: Results, person: Path) -> None:
    present = truth.face_present.copy()
    present[1, 20:40] = present[2, :] = False
    nonsense = truth.true_face.copy()
    nonsense[~present] = 1e3
    hidden = replace(truth, true_face=nonsense, face_present=present)
    face, lips = (figures(hidden, person, group) for group in ("face", "lips"))
    assert face["FD_g"].predicted < 1
    assert face["Div_g"].truth < 10
    assert face["Div_k"].truth == pytest.approx(face["Div_k"].predicted, rel=0.1)
    assert lips["vertex_error"].truth == 0


def test_a_recording_without_a_face_has_no_face_figures(truth: Results, person: Path) -> None:
    evaluation = evaluate(replace(truth, face_present=np.zeros_like(truth.face_present)), person)
    assert "face" not in evaluation.figures
    assert "fewer than three valid frames" in evaluation.left_out["face"]


def test_silence_has_no_beat_alignment(truth: Results, person: Path) -> None:
    audio = truth.audio.copy()
    audio[..., 0] = 0
    evaluation = evaluate(replace(truth, audio=audio), person).figures
    assert "beat_alignment" not in evaluation["body"]
    assert not [name for name in evaluation["lips"] if name.endswith("_speaking")]


@pytest.mark.parametrize(
    ("missing", "groups"),
    [
        (("face",), ["body", "sampling"]),
        (("pose", "key_poses"), ["face", "lips", "sampling"]),
    ],
)
def test_only_sampled_motion_is_measured(
    truth: Results, person: Path, missing: tuple[str, ...], groups: list[str]
) -> None:
    results = replace(truth, **dict.fromkeys(missing))
    assert list(evaluate(results, person).figures) == groups


def test_samples_are_measured_over_the_length_of_the_shortest(person: Path) -> None:
    results = shortened(perfect(frames=FRAMES, lengths=[90, 70, 80]))
    assert results.frames == 70
    assert results.audio.shape == (3, 70 * 1600, 2)
    assert results.lengths.tolist() == [70, 70, 70]
    same = perfect(frames=FRAMES)
    assert shortened(same) is same


def test_sampling_speed_counts_all_repetitions(truth: Results, person: Path) -> None:
    sampling = figures(truth, person, "sampling")
    assert sampling["frames_per_second"].predicted == 2 * 4 * FRAMES / 2.0
    assert sampling["real_time"].predicted == 2 * 4 * FRAMES / 2.0 / 30


def test_figures_are_converted_to_json_and_a_table(person: Path) -> None:
    evaluation = evaluate(random_results(frames=FRAMES), person)
    plain = json.loads(json.dumps(evaluation.plain()))
    assert plain["body"]["FD_g"]["predicted"] == evaluation.figures["body"]["FD_g"].predicted
    assert plain["left_out"] == {}
    lines = list(table(evaluation))
    assert lines[0].split() == ["samples", "truth", "no", "skill"]
    shown = dict(line.split()[:2] for line in lines if line.startswith("  F"))
    assert float(shown["FD_g"]) == pytest.approx(
        evaluation.figures["face"]["FD_g"].predicted, rel=1e-3
    )
