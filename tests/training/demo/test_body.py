"""Body of the demo person, rebuilt from its public-domain source."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from models.avatar.appearance import RenderOptions
from models.avatar.blendshape.kind import load_blendshape_avatar
from models.avatar.blendshape.model import load_blendshape
from models.avatar.camera import looking_at, read_cameras
from training.demo.body import build_body, build_cameras, face_basis, unit_moves
from training.demo.mesh.assembly import Assembly, assemble
from training.demo.mesh.geometry import clip, quads_to_triangles, subdivide, take_piece, triangulate
from training.demo.mesh.head import Body
from training.demo.mesh.looks import LOOKS
from training.demo.portrait import own_rest, row
from training.demo.pose_keys import POSES

PERSON = Path(__file__).parents[3] / "people" / "demo"


@pytest.fixture(scope="module")
def body() -> Body:
    return build_body()


@pytest.fixture(scope="module")
def assembly(body: Body) -> Assembly:
    return assemble(body)


def test_the_shipped_cameras_match_the_built_ones() -> None:
    assert read_cameras(PERSON / "cameras.json") == build_cameras()


def test_the_shipped_face_basis_matches_the_built_one() -> None:
    shipped = load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))
    np.testing.assert_allclose(shipped.face_basis.numpy(), face_basis(52), atol=1e-6)


def test_key_poses_use_only_parameters_of_the_person() -> None:
    shipped = load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))
    keys = json.loads(POSES.read_text(encoding="utf-8"))
    used = {name for angles in keys.values() for name in angles}
    assert used <= set(shipped.parameter_names)
    assert {name[-1] for name in keys} == {"L", "R"}


def test_the_shipped_skeleton_and_mesh_match_the_built_ones(body: Body, assembly: Assembly) -> None:
    shipped = load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))
    names, moves = unit_moves(body, assembly)
    assert shipped.unit_names == names
    assert shipped.config.part_names == assembly.names
    assert shipped.config.joint_names == body.rig.bones
    assert shipped.parameter_names == body.rig.parameter_names
    assert np.array_equal(shipped.faces.numpy(), assembly.faces)
    torch.testing.assert_close(shipped.skeleton.offsets, body.rig.skeleton.offsets.float())
    jaw = torch.zeros(1, len(names))
    jaw[0, names.index("jawOpen")] = 1.0
    moved = (shipped.rest(jaw)[0] - shipped.template).numpy()
    np.testing.assert_allclose(moved, moves[names.index("jawOpen")], atol=1e-3)


def test_the_second_person_has_another_body_on_the_same_joints(body: Body) -> None:
    second = build_body(LOOKS["sam"])
    shipped = load_blendshape(PERSON.parent / "sam/avatar.safetensors", device=torch.device("cpu"))
    torch.testing.assert_close(shipped.skeleton.offsets, second.rig.skeleton.offsets.float())
    assert shipped.parameter_names == body.rig.parameter_names
    assert shipped.config.joint_names == body.rig.bones
    assert "bun" not in shipped.config.part_names
    np.testing.assert_allclose(shipped.face_basis.numpy(), face_basis(52), atol=1e-6)
    assert read_cameras(PERSON.parent / "sam/cameras.json") == build_cameras()
    eyes = [each.rig.heads["eye.L"] for each in (body, second)]
    assert np.abs(eyes[0] - eyes[1]).max() < 0.05  # decimetres: the same cameras show both
    shoulders = [each.rig.heads["upperarm01.L"][0] for each in (body, second)]
    assert shoulders[1] > 1.1 * shoulders[0]


@pytest.mark.parametrize("turn", [-1, 1])
def test_no_backdrop_shows_between_neck_and_collar_of_the_second_person(turn: int) -> None:
    avatar = load_blendshape_avatar(PERSON.parent / "sam", device=torch.device("cpu"))
    size = {"width": 400, "height": 400}
    view = looking_at("neck", eye=(0, 5.5, 16.0), target=(0, 5.3, 0), focal=8.0, **size)
    turned = {"head_ry": 0.35 * turn, "neck_ry": 0.15 * turn}
    pose = row(avatar.parameter_names, {**own_rest("sam"), **turned})  # shoulders pull the collar
    options = RenderOptions(background="transparent")
    (batch,) = avatar.render(torch.zeros(1, 256), pose, [view], options=options)
    regions, count = label(np.asarray(batch)[0, ..., 3] == 0)
    edge = np.concatenate([regions[[0, -1]].ravel(), regions[:, [0, -1]].ravel()])
    assert 0 < count == len(np.unique(edge[edge > 0]))  # none is enclosed by the person


def test_the_faces_of_every_part_point_outwards(assembly: Assembly) -> None:
    """Back faces are not rendered, so a part with the wrong orientation would look inside out."""
    for name in assembly.names:
        part = assembly.mask(name)
        faces = assembly.faces[part[assembly.faces[:, 0]]]
        a, b, c = (
            assembly.template[faces[:, i]] - assembly.template[part].mean(0) for i in range(3)
        )
        assert (np.cross(a, b) * c).sum() > 0, name


class TestMeshes:
    def test_subdivision_makes_four_quads_of_each(self, body: Body) -> None:
        eyes = take_piece(body.mesh, body.group("helper-l-eye"))
        finer = subdivide(eyes, 0)
        assert len(finer.faces) == 4 * len(eyes.faces)
        old = finer.positions(body.shape)[: len(eyes.offset)]
        np.testing.assert_allclose(old, eyes.positions(body.shape))

    def test_clipping_keeps_the_part_above_the_line(self, body: Body) -> None:
        eyes = triangulate(take_piece(body.mesh, body.group("helper-l-eye")))
        height = eyes.positions(body.shape)[:, 1]
        middle = float(height.mean())
        cut = clip(eyes, height - middle)
        lowest = cut.positions(body.shape)[:, 1].min()
        assert lowest == pytest.approx(middle, abs=1e-9)
        assert 0 < len(cut.faces) < len(eyes.faces)

    def test_the_weights_of_base_vertices_add_up_to_one(self, body: Body) -> None:
        eyes = subdivide(take_piece(body.mesh, body.group("helper-l-eye")), 3)
        np.testing.assert_allclose(np.asarray(eyes.mix.sum(1)).ravel(), 1.0)


def test_a_quad_becomes_two_triangles_of_the_same_orientation() -> None:
    triangles = quads_to_triangles(np.array([[0, 1, 2, 3]]))
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
