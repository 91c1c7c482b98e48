"""CSV files of Live Link Face: header, timecode, values."""

import csv
from pathlib import Path

import numpy as np
import pytest

from models.animation.figure import AnimationError, Figure
from models.animation.live_link import read_live_link, timecode, write_live_link
from models.animation.rows import MotionRows, rows_of

# As the app writes it.
HEADER = (
    "Timecode,BlendshapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,"
    "EyeLookUpLeft,EyeSquintLeft,EyeWideLeft,EyeBlinkRight,EyeLookDownRight,EyeLookInRight,"
    "EyeLookOutRight,EyeLookUpRight,EyeSquintRight,EyeWideRight,JawForward,JawRight,JawLeft,"
    "JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,MouthSmileLeft,"
    "MouthSmileRight,MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,"
    "MouthStretchLeft,MouthStretchRight,MouthRollLower,MouthRollUpper,MouthShrugLower,"
    "MouthShrugUpper,MouthPressLeft,MouthPressRight,MouthLowerDownLeft,MouthLowerDownRight,"
    "MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,BrowOuterUpLeft,"
    "BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,"
    "TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,"
    "RightEyePitch,RightEyeRoll"
)


@pytest.fixture
def file(tmp_path: Path, demo: Figure, demo_motion: MotionRows) -> Path:
    write_live_link(tmp_path / "face.csv", demo, demo_motion)
    return tmp_path / "face.csv"


def test_header_and_timecode_are_those_of_the_app(file: Path) -> None:
    lines = file.read_text().splitlines()

    assert lines[0] == HEADER
    assert len(HEADER.split(",")) == 2 + 61
    assert [line.split(",")[:2] for line in lines[1:3]] == [
        ["00:00:00:00.000", "61"],
        ["00:00:00:01.000", "61"],
    ]
    assert lines[31].startswith("00:00:01:00.000,61,")
    assert timecode(30 * 3725 + 29, 30) == "01:02:05:29.000"


def test_shapes_are_face_units_and_angles_those_of_the_head(
    file: Path, demo: Figure, demo_motion: MotionRows
) -> None:
    with file.open(newline="") as content:
        rows = list(csv.DictReader(content))
    piece = demo_motion.piece(0, 45)

    assert demo.unit_weights is not None
    units = demo.unit_weights(piece.face)
    found = [float(row["JawOpen"]) for row in rows]
    np.testing.assert_allclose(found, units[:, demo.unit_names.index("jawOpen")], atol=1e-6)
    np.testing.assert_allclose(read_live_link(file, demo), units, atol=1e-6)


@pytest.mark.parametrize(("parameter", "column"), [("ry", "Yaw"), ("rx", "Pitch"), ("rz", "Roll")])
def test_each_turn_of_the_head_is_one_angle(
    tmp_path: Path, demo: Figure, parameter: str, column: str
) -> None:
    pose = np.zeros((1, demo.pose_width), np.float32)
    pose[0, demo.parameter_names.index(f"root_{parameter}")] = 0.3
    write_live_link(tmp_path / "x.csv", demo, rows_of(np.zeros((1, 256), np.float32), pose))

    with (tmp_path / "x.csv").open(newline="") as content:
        (row,) = csv.DictReader(content)

    angles = {name: float(row[f"Head{name}"]) for name in ("Yaw", "Pitch", "Roll")}
    expected = {"Yaw": 0.0, "Pitch": 0.0, "Roll": 0.0} | {column: 0.3}
    assert angles == pytest.approx(expected, abs=1e-6)
    assert float(row["LeftEyeYaw"]) == pytest.approx(0, abs=1e-6)


def test_a_person_without_face_units_is_refused(
    tmp_path: Path, codec: Figure, codec_motion: MotionRows
) -> None:
    with pytest.raises(AnimationError, match="tiny has no face units"):
        write_live_link(tmp_path / "x.csv", codec, codec_motion)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no column"),
        ("Timecode,JawOpen\n", "no column"),
        (HEADER + "\n", "no frames"),
        (HEADER + "\n00:00:00:00.000,61,a\n", "damaged"),
        (HEADER + "\n00:00:00:00.000,61" + ",nan" * 61 + "\n", "not finite"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, demo: Figure, text: str, problem: str) -> None:
    (tmp_path / "x.csv").write_text(text)

    with pytest.raises(AnimationError, match=problem):
        read_live_link(tmp_path / "x.csv", demo)
