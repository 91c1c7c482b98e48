"""Properties of every motion format: any motion, one frame, values that are not finite, an hour."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.animation.bvh import read_bvh, write_bvh
from models.animation.figure import AnimationError, Figure
from models.animation.gltf.glb import write_glb
from models.animation.gltf.vrma import write_vrma
from models.animation.live_link import write_live_link
from models.animation.npz import open_npz, write_npz
from models.animation.obj import write_obj
from models.animation.rows import MotionRows, rows_of
from tests.models.animation.gltf_reader import assert_valid

Writer = Callable[[Path, Figure, MotionRows], None]


def npz(path: Path, figure: Figure, rows: MotionRows) -> None:
    write_npz(path, figure, rows, person=figure.name, seed=3)


WRITERS: dict[str, Writer] = {"npz": npz, "bvh": write_bvh, "glb": write_glb, "obj": write_obj}
HUMAN_WRITERS: dict[str, Writer] = {"csv": write_live_link, "vrma": write_vrma}
once = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def constant(figure: Figure, frames: int, value: float = 0.1) -> MotionRows:
    face = np.full((frames, figure.face_width), value, np.float32)
    return rows_of(face, np.full((frames, figure.pose_width), value, np.float32))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", ["demo", "codec"])
def test_every_format_holds_one_frame(
    tmp_path: Path, name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    figure = request.getfixturevalue(kind)
    WRITERS[name](tmp_path / "one", figure, constant(figure, 1))

    assert (tmp_path / "one").stat().st_size > 400
    if name == "glb":
        assert_valid(tmp_path / "one")


@pytest.mark.parametrize("name", HUMAN_WRITERS)
def test_formats_of_humans_hold_one_frame_and_no_other_values(
    tmp_path: Path, demo: Figure, name: str
) -> None:
    HUMAN_WRITERS[name](tmp_path / "one", demo, constant(demo, 1))

    assert (tmp_path / "one").stat().st_size > 400
    if name == "vrma":
        assert_valid(tmp_path / "one")
    with pytest.raises(AnimationError, match="not finite"):
        HUMAN_WRITERS[name](tmp_path / "bad", demo, constant(demo, 2, np.nan))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_format_holds_values_that_are_not_finite(
    tmp_path: Path, codec: Figure, name: str, value: float
) -> None:
    with pytest.raises(AnimationError, match="frame 0 has a value that is not finite"):
        WRITERS[name](tmp_path / "bad", codec, constant(codec, 2, value))


def test_motion_without_frames_or_of_another_width_is_refused(
    tmp_path: Path, codec: Figure
) -> None:
    with pytest.raises(AnimationError, match="no frames"):
        constant(codec, 0)
    with pytest.raises(AnimationError, match="choose the person of the motion"):
        write_bvh(tmp_path / "x", codec, rows_of(np.zeros((2, 256)), np.zeros((2, 7))))
    with pytest.raises(AnimationError, match="do not match"):
        rows_of(np.zeros((2, 256)), np.zeros((3, 104)))
    with pytest.raises(AnimationError, match="choose 0 to 1"):
        write_obj(tmp_path / "x", codec, constant(codec, 2), frame=2)


@once
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 5), size=st.floats(0, 3))
def test_any_motion_is_read_back(
    tmp_path: Path, codec: Figure, seed: int, frames: int, size: float
) -> None:
    rng = np.random.default_rng(seed)
    pose = (size * rng.standard_normal((frames, codec.pose_width))).astype(np.float32)
    rows = rows_of(rng.standard_normal((frames, codec.face_width)).astype(np.float32), pose)
    npz(tmp_path / "m.npz", codec, rows)
    write_bvh(tmp_path / "m.bvh", codec, rows)

    found = open_npz(tmp_path / "m.npz")
    text = read_bvh(tmp_path / "m.bvh")

    assert np.array_equal(found.rows.piece(0, frames).pose, pose)
    assert (found.person, found.seed, found.rows.frames) == ("tiny", 3, frames)
    local = codec.world_states(pose)[:, 0, :3]
    np.testing.assert_allclose(text.positions[:, 0], local, atol=1e-6)


def test_pieces_of_a_file_are_read_in_any_order(
    tmp_path: Path, demo: Figure, demo_motion: MotionRows
) -> None:
    npz(tmp_path / "m.npz", demo, demo_motion)
    rows = open_npz(tmp_path / "m.npz").rows

    for start in (30, 0, 12):
        expected = demo_motion.piece(start, start + 5)
        found = rows.piece(start, start + 5)
        assert np.array_equal(found.pose, expected.pose)
        assert np.array_equal(found.face, expected.face)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.npz").write_bytes(content)

    with pytest.raises(AnimationError, match="not a motion file"):
        open_npz(tmp_path / "m.npz")


def test_the_arrays_of_npz_have_names_and_units(
    tmp_path: Path, demo: Figure, demo_motion: MotionRows
) -> None:
    npz(tmp_path / "m.npz", demo, demo_motion)

    with np.load(tmp_path / "m.npz") as file:
        assert file["units"].shape == (45, 52) and file["unit_names"][0] == "browDownLeft"
        assert file["joint_names"].tolist() == list(demo.joint_names)
        assert len(file["pose_names"]) == file["pose"].shape[1] == 104
        wrist = demo.joint("wrist.L")
        names = [str(file[f"names_{rig}"][wrist]) for rig in ("vrm", "unity", "mixamo", "unreal")]
        assert names == ["leftHand", "LeftHand", "mixamorig:LeftHand", "hand_l"]


def test_trimesh_reads_the_mesh_of_a_frame(
    tmp_path: Path, demo: Figure, demo_motion: MotionRows
) -> None:
    write_obj(tmp_path / "m.obj", demo, demo_motion, frame=17)
    piece = demo_motion.piece(17, 18)

    mesh = trimesh.load(tmp_path / "m.obj", process=False)

    ours = demo.posed(piece.face, piece.pose)[0]
    assert len(mesh.faces) == len(demo.mesh.faces)
    np.testing.assert_allclose(mesh.bounds, [ours.min(0), ours.max(0)], atol=1e-5)


@pytest.mark.parametrize("name", ["npz", "bvh", "glb"])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, codec: Figure, name: str) -> None:
    def peak(frames: int) -> int:
        row = np.full((1, codec.pose_width), 0.1)
        face = np.zeros((1, codec.face_width))

        def read(start: int, stop: int) -> tuple[Any, Any]:
            return np.repeat(face, stop - start, 0), np.repeat(row, stop - start, 0)

        tracemalloc.start()
        WRITERS[name](tmp_path / "long", codec, MotionRows(frames, 30, read))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(7200) < peak(1200) + 2e6
