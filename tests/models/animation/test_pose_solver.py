"""Motion that went through BVH and CSV is the motion that was written."""

from pathlib import Path

import numpy as np
import pytest

from models.animation.bvh import read_bvh, write_bvh
from models.animation.edited import is_edited, read_edited
from models.animation.figure import AnimationError, Figure
from models.animation.live_link import write_live_link
from models.animation.npz import write_npz
from models.animation.pose_solver import solve_pose
from models.animation.rows import MotionRows, rows_of
from tests.models.animation.conftest import motion_of


@pytest.fixture
def bvh(tmp_path: Path, demo: Figure, demo_motion: MotionRows) -> Path:
    write_bvh(tmp_path / "take.bvh", demo, demo_motion)
    return tmp_path / "take.bvh"


def test_body_and_face_come_back(
    tmp_path: Path, bvh: Path, demo: Figure, demo_motion: MotionRows
) -> None:
    write_live_link(tmp_path / "take.csv", demo, demo_motion)
    piece = demo_motion.piece(0, 45)

    edited = read_edited(demo, bvh, tmp_path / "take.csv")

    np.testing.assert_allclose(edited.pose, piece.pose, atol=1e-4)
    assert edited.error < 1e-4
    for frame in (0, 30):
        ours = demo.posed(piece.face[[frame]], piece.pose[[frame]])
        theirs = demo.posed(edited.face[[frame]], edited.pose[[frame]])
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.parametrize("size", [0.5, 3.0])
def test_large_turns_come_back(tmp_path: Path, demo: Figure, size: float) -> None:
    piece = motion_of(demo, seed=4).piece(0, 45)
    pose = (size * piece.pose).astype(np.float32)
    write_bvh(tmp_path / "x.bvh", demo, rows_of(piece.face, pose))

    solved = solve_pose(demo, read_bvh(tmp_path / "x.bvh"), tmp_path / "x.bvh")

    np.testing.assert_allclose(solved.pose, pose, atol=1e-4)


def test_the_joints_of_a_codec_avatar_come_back(tmp_path: Path, human_codec: Figure) -> None:
    rows = motion_of(human_codec)
    write_bvh(tmp_path / "x.bvh", human_codec, rows)
    write_npz(tmp_path / "x.npz", human_codec, rows, person="human", seed=1)

    edited = read_edited(human_codec, tmp_path / "x.bvh", tmp_path / "x.npz")

    ours = human_codec.world_states(rows.piece(0, 45).pose)[..., :3]
    theirs = human_codec.world_states(edited.pose)[..., :3]
    np.testing.assert_allclose(theirs, ours, atol=1e-4 * human_codec.height)
    assert np.array_equal(edited.face, rows.piece(0, 45).face)


def test_a_turn_that_no_parameter_has_is_measured(bvh: Path, demo: Figure) -> None:
    lines = bvh.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("Frame Time")) + 1
    for number in range(first, len(lines)):
        values = lines[number].split()
        values[-3:] = ["20", "0", "0"]  # the last joint: toes bend, and do not turn
        lines[number] = " ".join(values)
    bvh.write_text("\n".join(lines))

    solved = solve_pose(demo, read_bvh(bvh), bvh)

    assert np.degrees(solved.error) == pytest.approx(20, abs=1)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("JOINT head\n", "JOINT kopf\n", "no joint head"),
        ("Frame Time: 0.033333333", "Frame Time: 0.041666667", "24 frames a second"),
        ("OFFSET 0.000000", "OFFSET 9.000000", "cm from its parent"),
    ],
)
def test_another_skeleton_or_frame_rate_is_refused(
    bvh: Path, demo: Figure, old: str, new: str, problem: str
) -> None:
    text = bvh.read_text()
    assert old in text
    bvh.write_text(text.replace(old, new))

    with pytest.raises(AnimationError, match=problem):
        solve_pose(demo, read_bvh(bvh), bvh)


def test_files_of_different_lengths_are_refused(tmp_path: Path, bvh: Path, demo: Figure) -> None:
    write_live_link(tmp_path / "short.csv", demo, motion_of(demo, 9))

    with pytest.raises(AnimationError, match=r"9 frames, and .* has 45"):
        read_edited(demo, bvh, tmp_path / "short.csv")


def test_results_of_a_dataset_are_not_taken_for_motion(tmp_path: Path, bvh: Path) -> None:
    np.savez(tmp_path / "results.npz", face=np.zeros((2, 2, 3, 256)), pose=np.zeros((2, 2, 3, 104)))

    assert not is_edited(tmp_path / "results.npz", None)
    assert not is_edited(tmp_path / "absent.npz", None)
    assert is_edited(bvh, None)
