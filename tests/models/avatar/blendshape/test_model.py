"""Blendshape model of the demo person: face units, face codes, skeleton and lips."""

import pytest
import torch

from models.avatar.blendshape.model import BlendshapeModel
from models.avatar.blendshape.renderer import BlendshapeAvatar


@pytest.fixture
def model(demo: BlendshapeAvatar) -> BlendshapeModel:
    return demo.model


def units(model: BlendshapeModel, **weights: float) -> torch.Tensor:
    row = torch.zeros(1, len(model.unit_names))
    for name, weight in weights.items():
        row[0, model.unit_names.index(name)] = weight
    return row


def test_there_are_104_parameters_and_52_sorted_units(model: BlendshapeModel) -> None:
    assert len(set(model.parameter_names)) == 104
    assert len(set(model.unit_names)) == 52
    assert list(model.unit_names) == sorted(model.unit_names)
    assert model.skeleton.joints == 78


def test_face_units_survive_a_round_trip_through_a_face_code(model: BlendshapeModel) -> None:
    weights = torch.rand(5, 52, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.unit_weights(model.face_code(weights)), weights)


def test_face_units_are_clamped_to_zero_and_one(model: BlendshapeModel) -> None:
    extreme = model.face_code(torch.tensor([[-2.0, 3.0] + [0.5] * 50]))
    assert model.unit_weights(extreme)[0, :2].tolist() == [0, 1]


def test_the_basis_is_orthonormal(model: BlendshapeModel) -> None:
    torch.testing.assert_close(model.face_basis.T @ model.face_basis, torch.eye(52))


def test_a_neutral_face_and_pose_give_the_template(model: BlendshapeModel) -> None:
    still = model.posed(torch.zeros(1, 256), torch.zeros(1, 104))
    torch.testing.assert_close(still[0], model.template, atol=1e-5, rtol=0)


def test_moving_the_root_moves_every_vertex(model: BlendshapeModel) -> None:
    pose = torch.zeros(1, 104)
    pose[0, model.parameter_names.index("root_tx")] = 2.0
    moved = model.posed(torch.zeros(1, 256), pose)[0] - model.template
    torch.testing.assert_close(moved, torch.tensor([2.0, 0, 0]).expand_as(moved), atol=1e-4, rtol=0)


def test_bending_an_elbow_moves_only_that_arm(model: BlendshapeModel) -> None:
    pose = torch.zeros(1, 104)
    pose[0, model.parameter_names.index("elbow_L_flex")] = 1.0
    moved = (model.posed(torch.zeros(1, 256), pose)[0] - model.template).norm(dim=1)
    assert moved.max() > 1.0
    assert moved[model.template[:, 0] < 0.5].max() < 1e-4


def test_the_jaw_moves_the_face_and_nothing_else(model: BlendshapeModel) -> None:
    moved = (model.rest(units(model, jawOpen=1.0))[0] - model.template).norm(dim=1)
    still = model.vertices_of("sweater", "trousers", "hair", "bun", "eyes")
    assert moved[still].max() == 0
    eyes = model.template[model.vertices_of("eyes")][:, 1].min()
    assert moved[model.template[:, 1] > eyes + 0.3].max() < 0.01
    assert moved.max() > 0.2


def test_a_blink_does_not_move_the_mouth(model: BlendshapeModel) -> None:
    face = units(model, eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    torch.testing.assert_close(model.lip_opening(face), model.lip_opening(0 * face))


def test_opening_the_jaw_opens_the_lips(model: BlendshapeModel) -> None:
    steps = torch.cat([units(model, jawOpen=x) for x in (0.0, 0.1, 0.3, 0.6, 1.0)])
    opening = model.lip_opening(steps)
    assert opening[0] < 0.1  # centimetres: closed
    assert (opening.diff() > 0.2).all()
    assert 2.5 < opening[-1] < 6
    torch.testing.assert_close(model.lip_opening(model.face_code(steps)), opening)


def test_a_closed_mouth_stays_closed_when_the_jaw_drops(model: BlendshapeModel) -> None:
    both = units(model, jawOpen=0.4, mouthClose=0.4)
    assert model.lip_opening(both) < 0.3 * model.lip_opening(units(model, jawOpen=0.4))


def test_wrong_shapes_raise_an_error(model: BlendshapeModel) -> None:
    with pytest.raises(ValueError, match=r"face must be \[T, 256\], got \[2, 52\]"):
        model.unit_weights(torch.zeros(2, 52))
    with pytest.raises(ValueError, match=r"units must be \[T, 52\], got \[256\]"):
        model.face_code(torch.zeros(256))
    with pytest.raises(ValueError, match=r"pose must be \[T, 104\], got \[1, 105\]"):
        model.posed(torch.zeros(1, 256), torch.zeros(1, 105))
