"""Face units as CSV of Live Link Face: 52 ARKit shapes, and the angles of head and eyes.

Angles are radians since the rest pose: yaw to the person's left, pitch down, roll to the right are
positive; the head's are those in the world, the eyes' those in the head. Source: the files of the
app. Letters: N frames of a piece, U face units.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.figure import AnimationError
from models.animation.humanoid import humanoid_bones
from models.animation.quaternions import euler, inverse, multiply

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.figure import Figure
    from models.animation.rows import MotionRows, Piece

    Floats = NDArray[np.floating[Any]]

EYE = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
SHAPES = (
    *(f"Eye{name}{side}" for side in ("Left", "Right") for name in EYE),
    "JawForward", "JawRight", "JawLeft", "JawOpen",
    "MouthClose", "MouthFunnel", "MouthPucker", "MouthRight", "MouthLeft",
    "MouthSmileLeft", "MouthSmileRight", "MouthFrownLeft", "MouthFrownRight",
    "MouthDimpleLeft", "MouthDimpleRight", "MouthStretchLeft", "MouthStretchRight",
    "MouthRollLower", "MouthRollUpper", "MouthShrugLower", "MouthShrugUpper",
    "MouthPressLeft", "MouthPressRight", "MouthLowerDownLeft", "MouthLowerDownRight",
    "MouthUpperUpLeft", "MouthUpperUpRight",
    "BrowDownLeft", "BrowDownRight", "BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight",
    "CheekPuff", "CheekSquintLeft", "CheekSquintRight", "NoseSneerLeft", "NoseSneerRight",
    "TongueOut",
)  # fmt: skip
PARTS = ("Head", "LeftEye", "RightEye")
ANGLES = tuple(f"{part}{angle}" for part in PARTS for angle in ("Yaw", "Pitch", "Roll"))
HEADER = ("Timecode", "BlendshapeCount", *SHAPES, *ANGLES)
ORDER = "YXZ"  # yaw, then pitch, then roll, each about the axes of the head


def write_live_link(path: Path, figure: Figure, rows: MotionRows) -> None:
    """Write a take. Raises: AnimationError: for a person without face units."""
    if figure.unit_weights is None:
        raise AnimationError(
            f"csv: {figure.name} has no face units, and no combination of them gives the face that "
            "the networks decode; ask for glb, which holds its surface"
        )
    names = [name[:1].upper() + name[1:] for name in figure.unit_names]
    columns = {name: number for number, name in enumerate(SHAPES)}
    if unknown := sorted(set(names) - set(columns)):
        raise AnimationError(f"csv: {unknown[0]} of {figure.name} is not an ARKit shape; use glb")
    places = [columns[name] for name in names]
    count = str(len(SHAPES) + len(ANGLES))
    with path.open("w", encoding="ascii", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        for piece in rows.pieces():
            table = np.zeros((len(piece), len(SHAPES) + len(ANGLES)))
            table[:, places] = figure.unit_weights(piece.face)
            table[:, len(SHAPES) :] = _angles(figure, piece)
            for frame, values in enumerate(table.tolist(), piece.start):
                numbers = ",".join(f"{value:.8f}" for value in values)
                file.write(f"{timecode(frame, rows.frame_rate)},{count},{numbers}\n")


def timecode(frame: int, frame_rate: int) -> str:
    """Time of a frame as HH:MM:SS:FF.mmm, with frames of a second and thousandths of a frame."""
    seconds, rest = divmod(frame, frame_rate)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}:{rest:02d}.000"


def read_live_link(path: Path, figure: Figure) -> Floats:
    """Read the face units of a person, [T, U]; other columns are not used.

    Raises: AnimationError: when the file is damaged, or lacks a shape of the person.
    """
    wanted = [name[:1].upper() + name[1:] for name in figure.unit_names]
    if not wanted:
        raise AnimationError(f"csv: {figure.name} has no face units; pass motion as npz")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            places = {name.strip().lower(): number for number, name in enumerate(next(reader, []))}
            if missing := [name for name in wanted if name.lower() not in places]:
                raise AnimationError(f"{path}: no column {missing[0]}; export all shapes again")
            columns = [places[name.lower()] for name in wanted]
            values = np.array(
                [[float(row[column]) for column in columns] for row in reader if row], np.float64
            )
    except OSError as error:
        raise AnimationError(f"{path}: CSV file cannot be read ({error.strerror})") from error
    except (IndexError, UnicodeDecodeError, csv.Error) as error:
        raise AnimationError(f"{path}: damaged CSV file ({error}); export it again") from error
    except ValueError as error:
        if isinstance(error, AnimationError):
            raise
        raise AnimationError(f"{path}: damaged CSV file ({error}); export it again") from error
    if not len(values) or not np.isfinite(values).all():
        raise AnimationError(f"{path}: no frames, or values that are not finite; export it again")
    return values


def _angles(figure: Figure, piece: Piece) -> Floats:
    """Angles of head and eyes, [N, 9]; zero for parts that the skeleton does not have."""
    bones = humanoid_bones(figure.joint_names)
    result = np.zeros((len(piece), len(PARTS), 3))
    if "head" not in bones:
        return result.reshape(len(piece), -1)
    states = figure.world_states(piece.pose)
    turns = multiply(states[..., 3:7], inverse(figure.rest_world[:, 3:7]))
    head = turns[:, bones["head"]]
    result[:, 0] = euler(head, ORDER)
    for number, bone in enumerate(("leftEye", "rightEye"), 1):
        if bone in bones:
            result[:, number] = euler(multiply(inverse(head), turns[:, bones[bone]]), ORDER)
    return result.reshape(len(piece), -1)
