"""glb files as three.js, trimesh and the Khronos validator read them."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from models.animation.figure import Figure
from models.animation.gltf.glb import write_glb
from models.animation.gltf.skinned_mesh import split_seams
from models.animation.rows import MotionRows
from tests.models.animation.gltf_reader import ask, assert_valid

SHOWN = (0, 17, 44)


@pytest.fixture(scope="module")
def takes(
    tmp_path_factory: pytest.TempPathFactory,
    demo: Figure,
    demo_motion: MotionRows,
    codec: Figure,
    codec_motion: MotionRows,
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("glb")
    paths = {name: folder / f"{name}.glb" for name in ("demo", "codec")}
    write_glb(paths["demo"], demo, demo_motion, title="take 1")
    write_glb(paths["codec"], codec, codec_motion, shape_rate=30)
    return paths


def test_the_validator_finds_no_fault_for_either_kind_of_avatar(takes: dict[str, Path]) -> None:
    assert_valid(*takes.values())


@pytest.mark.parametrize("kind", ["demo", "codec"])
def test_three_js_shows_the_joints_where_we_do(
    takes: dict[str, Path], kind: str, request: pytest.FixtureRequest
) -> None:
    figure, rows = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_motion")
    frames = ask(glb=takes[kind], seconds=[frame / 30 for frame in SHOWN])["frames"]

    for frame, found in zip(SHOWN, frames, strict=True):
        ours = figure.world_states(rows.piece(frame, frame + 1).pose)[0, :, :3]
        theirs = np.array([found["positions"][name] for name in figure.joint_names])
        assert np.abs(theirs - ours).max() < 1e-4 * figure.height


def test_three_js_shows_face_units_and_vertices_as_we_do(
    takes: dict[str, Path], demo: Figure, demo_motion: MotionRows
) -> None:
    """Vertices differ where more than four joints move them: engines read four."""
    source, _, _ = split_seams(demo.mesh)
    chosen = list(range(0, len(source), 400))
    frames = ask(glb=takes["demo"], seconds=[f / 30 for f in SHOWN], vertices=chosen)["frames"]

    assert demo.unit_weights is not None
    for frame, found in zip(SHOWN, frames, strict=True):
        piece = demo_motion.piece(frame, frame + 1)
        np.testing.assert_allclose(found["weights"], demo.unit_weights(piece.face)[0], atol=1e-3)
        ours = demo.posed(piece.face, piece.pose)[0][source[chosen]]
        away = np.linalg.norm(np.array(found["vertices"]) - ours, axis=1) / demo.height
        assert away.max() < 0.01 and np.median(away) < 1e-4


def test_the_surface_of_a_codec_avatar_is_close_to_the_decoded_one(
    takes: dict[str, Path], codec: Figure, codec_motion: MotionRows
) -> None:
    source, _, _ = split_seams(codec.mesh)
    chosen = list(range(len(source)))
    frames = ask(glb=takes["codec"], seconds=[f / 30 for f in SHOWN], vertices=chosen)["frames"]

    for frame, found in zip(SHOWN, frames, strict=True):
        piece = codec_motion.piece(frame, frame + 1)
        ours = codec.posed(piece.face, piece.pose)[0][source]
        assert np.abs(np.array(found["vertices"]) - ours).max() < 0.01 * codec.height


def test_trimesh_reads_the_mesh_with_texture_coordinates(
    takes: dict[str, Path], demo: Figure
) -> None:
    scene = trimesh.load(takes["demo"])
    (mesh,) = scene.geometry.values()

    assert len(mesh.faces) == len(demo.mesh.faces)
    assert mesh.bounds[0][1] == pytest.approx(0, abs=1e-6)
    assert mesh.bounds[1][1] == pytest.approx(demo.height, abs=1e-5)
    np.testing.assert_allclose(mesh.visual.uv.max(0), (demo.mesh.uv * (1, -1) + (0, 1)).max(0))
    assert mesh.visual.material.baseColorTexture.size == demo.mesh.texture.shape[:2]
