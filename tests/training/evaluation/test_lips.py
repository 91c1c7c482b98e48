"""Lip vertices of a blendshape avatar and of a regressor."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import checkpoint
from models.avatar.blendshape.model import load_blendshape
from models.formats.results import Results
from tests.tiny_avatar import DEMO
from tests.tiny_person import LIPS, tiny_lips, write_tiny_person
from tests.training.results import random_results
from training.evaluation.lips import first_component, lip_vertices, lips_of, regressed_lips

CPU = torch.device("cpu")


def with_regressor(person: Path) -> Path:
    checkpoint.write(person / "lips.safetensors", asdict(LIPS), tiny_lips().state_dict())
    return person


def codes_that_follow(person: Path, results: Results) -> Results:
    """Results in which the regressor's lips are a linear function of the true codes."""
    lips = np.stack([each.reshape(len(each), -1) for each in regressed_lips(person, results.audio)])
    codes = np.zeros_like(results.true_face)
    codes[..., :9] = lips
    return replace(results, true_face=codes)


def test_the_demo_persons_lips_are_at_her_mouth() -> None:
    avatar = load_blendshape(DEMO, device=CPU)
    vertices = lip_vertices(avatar)
    edge = [*avatar.config.upper_lip, *avatar.config.lower_lip]
    assert set(edge) <= set(vertices)
    assert set(vertices) <= set(avatar.vertices_of("skin").tolist())
    gap = (avatar.template[vertices] - avatar.template[edge].mean(0)).abs() * 10
    assert 100 < len(vertices) < 250
    assert gap[:, 0].max() < 3  # cm, to the corners of the mouth
    assert gap[:, 1].max() < 2.5


def test_lips_of_a_blendshape_avatar_are_those_of_the_rendered_mesh(tmp_path: Path) -> None:
    person, results = write_tiny_person(tmp_path), random_results(samples=2)
    avatar = load_blendshape(person / "avatar.safetensors", device=CPU)
    units = torch.rand(60, len(avatar.unit_names), generator=torch.Generator().manual_seed(1))
    face = avatar.face_code(units).numpy()
    own = lips_of(person, replace(results, true_face=np.stack([face, 0 * face])))[0]
    assert own.unit == "mm"
    whole = avatar.rest(units)[:, lip_vertices(avatar)].numpy() * 100
    np.testing.assert_allclose(own.target, whole, atol=1e-2)
    np.testing.assert_allclose(own.read(face), own.target)
    np.testing.assert_allclose(
        own.opening(own.target), 10 * avatar.lip_opening(torch.from_numpy(face)), atol=1e-2
    )


def test_codes_that_encode_the_lips_are_mapped_to_them(tmp_path: Path) -> None:
    person = with_regressor(write_tiny_person(tmp_path))
    results = codes_that_follow(person, random_results(samples=3, frames=30))
    for own, codes in zip(lips_of(person, results), results.true_face, strict=True):
        assert own.target.shape == (30, 3, 3)
        spread = own.target.std(0).max()
        assert np.abs(own.read(codes) - own.target).max() < 0.2 * spread
        assert np.abs(own.read(np.zeros_like(codes)) - own.target).max() > spread


def test_a_map_is_not_fitted_on_the_sample_that_it_maps(tmp_path: Path) -> None:
    person = with_regressor(write_tiny_person(tmp_path))
    results = codes_that_follow(person, random_results(samples=3, frames=30))
    other = results.true_face.copy()
    other[0] = 7
    probe = results.true_face[1]
    before, after = (
        lips_of(person, replace(results, true_face=t)) for t in (results.true_face, other)
    )
    np.testing.assert_allclose(before[0].read(probe), after[0].read(probe))
    assert not np.allclose(before[1].read(probe), after[1].read(probe))


def test_a_map_needs_another_sample(tmp_path: Path) -> None:
    person = with_regressor(write_tiny_person(tmp_path))
    with pytest.raises(ValueError, match="sample two or more"):
        lips_of(person, random_results(samples=1, frames=30))


def test_a_person_without_measurable_lips_is_rejected(tmp_path: Path) -> None:
    person = write_tiny_person(tmp_path)
    facts = json.loads((person / "person.json").read_text())
    (person / "person.json").write_text(json.dumps(facts | {"avatar": {"kind": "codec"}}))
    with pytest.raises(ValueError, match=r"demo has neither lips.safetensors nor a blendshape"):
        lips_of(person, random_results())
    shutil.move(person / "person.json", person / "elsewhere")
    with pytest.raises(ValueError, match="has neither"):
        lips_of(person, random_results())


def test_the_first_component_is_the_direction_of_most_motion_with_unit_spread() -> None:
    turns = np.sin(np.arange(300) / 7)
    lips = np.zeros((300, 2, 3))
    lips[:, 0, 1], lips[:, 1, 0] = 5 * turns, 0.1 * np.cos(np.arange(300) / 3)
    component = first_component([lips[:200], lips[200:]])(lips)
    assert abs(np.corrcoef(component, turns)[0, 1]) == pytest.approx(1, abs=1e-3)
    assert component.std() == pytest.approx(1, abs=1e-2)
