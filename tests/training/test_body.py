"""The demo person's body, made again from its public-domain source."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.avatar.blendshape.model import load_blendshape
from models.avatar.camera import read_cameras
from training.demo.body import build_body, build_cameras, face_basis, unit_moves
from training.demo.mesh.assembly import Assembly, assemble
from training.demo.mesh.geometry import clip, quads_to_triangles, subdivide, take_piece, triangulate
from training.demo.mesh.head import Body
from training.demo.pose_keys import POSES

PERSON = Path(__file__).parents[2] / "people" / "demo"


@pytest.fixture(scope="module")
def body() -> Body:
    return build_body()


@pytest.fixture(scope="module")
def assembly(body: Body) -> Assembly:
    return assemble(body)


def test_the_shipped_cameras_are_the_ones_that_are_built() -> None:
    assert read_cameras(PERSON / "cameras.json") == build_cameras()


def test_the_basis_of_face_codes_is_the_shipped_one() -> None:
    shipped = load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))
    np.testing.assert_allclose(shipped.face_basis.numpy(), face_basis(52), atol=1e-6)


def test_key_poses_use_parameters_that_the_person_has() -> None:
    shipped = load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))
    keys = json.loads(POSES.read_text(encoding="utf-8"))
    used = {name for angles in keys.values() for name in angles}
    assert used <= set(shipped.parameter_names)
    assert {name[-1] for name in keys} == {"L", "R"}


def test_the_shipped_skeleton_and_skin_are_the_ones_that_are_built(
    body: Body, assembly: Assembly
) -> None:
    shipped = load_blendshape(PERSON / "avatar.safetensors", device=torch.device("cpu"))
    names, moves = unit_moves(body, assembly)
    assert shipped.unit_names == names
    assert shipped.config.part_names == assembly.names
    assert shipped.parameter_names == body.rig.parameter_names
    assert np.array_equal(shipped.faces.numpy(), assembly.faces)
    torch.testing.assert_close(shipped.skeleton.offsets, body.rig.skeleton.offsets.float())
    jaw = torch.zeros(1, len(names))
    jaw[0, names.index("jawOpen")] = 1.0
    moved = (shipped.rest(jaw)[0] - shipped.template).numpy()
    np.testing.assert_allclose(moved, moves[names.index("jawOpen")], atol=1e-3)


def test_every_part_is_closed_enough_to_be_seen_from_outside(assembly: Assembly) -> None:
    """Backs are not painted: a part whose faces run the wrong way would be seen inside out."""
    for name in assembly.names:
        mine = assembly.of(name)
        faces = assembly.faces[mine[assembly.faces[:, 0]]]
        a, b, c = (
            assembly.template[faces[:, i]] - assembly.template[mine].mean(0) for i in range(3)
        )
        assert (np.cross(a, b) * c).sum() > 0, name


class TestMeshes:
    def test_a_subdivided_piece_has_four_quads_for_one(self, body: Body) -> None:
        eyes = take_piece(body.mesh, body.group("helper-l-eye"))
        finer = subdivide(eyes, 0)
        assert len(finer.faces) == 4 * len(eyes.faces)
        kept = finer.positions(body.shape)[: len(eyes.offset)]
        np.testing.assert_allclose(kept, eyes.positions(body.shape))

    def test_cutting_keeps_what_is_above_and_ends_on_the_line(self, body: Body) -> None:
        eyes = triangulate(take_piece(body.mesh, body.group("helper-l-eye")))
        height = eyes.positions(body.shape)[:, 1]
        middle = float(height.mean())
        cut = clip(eyes, height - middle)
        lowest = cut.positions(body.shape)[:, 1].min()
        assert lowest == pytest.approx(middle, abs=1e-9)
        assert 0 < len(cut.faces) < len(eyes.faces)

    def test_mixes_of_base_vertices_add_up_to_one(self, body: Body) -> None:
        eyes = subdivide(take_piece(body.mesh, body.group("helper-l-eye")), 3)
        np.testing.assert_allclose(np.asarray(eyes.mix.sum(1)).ravel(), 1.0)


def test_a_quad_becomes_two_triangles_that_run_the_same_way() -> None:
    triangles = quads_to_triangles(np.array([[0, 1, 2, 3]]))
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
