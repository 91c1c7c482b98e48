"""BVH files as a package's parser and our own reader see them."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from models.animation.bvh import read_bvh, write_bvh
from models.animation.figure import AnimationError, Figure
from models.animation.rows import MotionRows


@pytest.mark.parametrize("kind", ["demo", "codec"])
def test_a_parser_finds_the_joints_where_we_do(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    figure: Figure = request.getfixturevalue(kind)
    rows: MotionRows = request.getfixturevalue(f"{kind}_motion")
    write_bvh(tmp_path / "take.bvh", figure, rows)

    with warnings.catch_warnings():  # its import of PyGLM is out of date
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        import bvhio
    root = bvhio.readAsHierarchy(str(tmp_path / "take.bvh"))

    for frame in (0, 17, 44):
        root.loadPose(frame)
        found = {joint.Name: np.array(joint.PositionWorld) for joint, _, _ in root.layout()}
        ours = figure.world_states(rows.piece(frame, frame + 1).pose)[0, :, :3] * 100
        theirs = np.stack([found[name] for name in figure.joint_names])
        assert np.abs(theirs - ours).max() < 1e-4 * figure.height * 100


def test_our_reader_returns_what_was_written(
    tmp_path: Path, demo: Figure, demo_motion: MotionRows
) -> None:
    write_bvh(tmp_path / "take.bvh", demo, demo_motion)

    motion = read_bvh(tmp_path / "take.bvh")

    assert motion.names[0] == "root" and set(motion.names) == set(demo.joint_names)
    assert motion.frame_rate == pytest.approx(30)
    assert motion.rotations.shape == (45, 78, 4)


def test_angles_do_not_jump_between_frames(
    tmp_path: Path, demo: Figure, demo_motion: MotionRows
) -> None:
    write_bvh(tmp_path / "take.bvh", demo, demo_motion)
    rows = (tmp_path / "take.bvh").read_text().partition("Frame Time")[2].splitlines()[1:]
    table = np.array([row.split() for row in rows], float)

    assert np.abs(np.diff(table, axis=0)).max() < 60


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "damaged"),
        ("HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation\n}\nMOTION\n", "lists 1 of 3"),
        ("HIERARCHY\nMOTION\nFrames: 2\nFrame Time: 0.03\n1 2 3\n", "3 values for 2 frames"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "x.bvh").write_text(text)

    with pytest.raises(AnimationError, match=problem):
        read_bvh(tmp_path / "x.bvh")
