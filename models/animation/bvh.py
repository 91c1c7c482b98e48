"""BVH: the skeleton and its motion as text.

Lengths are centimetres, angles degrees. The axes of every joint are the world axes in the rest
pose. A joint rotates by R = Rz Rx Ry. The root, and joints whose distance from their parent
changes, have positions, which replace their OFFSET. Letters: N frames of a piece, J joints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.figure import AnimationError
from models.animation.quaternions import euler, from_axis, inverse, multiply, rotate, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from numpy.typing import NDArray

    from models.animation.figure import Figure
    from models.animation.rows import MotionRows

    Floats = NDArray[np.floating[Any]]

CENTIMETRES = 100.0  # in a metre
ORDER = "ZXY"
POSITIONS = ("Xposition", "Yposition", "Zposition")
ROTATIONS = tuple(f"{axis}rotation" for axis in ORDER)
END = 0.5  # length of the last bone of a chain, relative to the bone before


def write_bvh(path: Path, figure: Figure, rows: MotionRows) -> None:
    """Write a take. Raises: AnimationError: when the person has several roots."""
    order, moving = depth_first(figure.parents), moved_joints(figure)
    angles: Floats | None = None
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(_hierarchy(figure, moving))
        file.write(f"MOTION\nFrames: {rows.frames}\nFrame Time: {1 / rows.frame_rate:.9f}\n")
        for piece in rows.pieces():
            positions, rotations = bvh_values(figure, piece.pose)
            angles = unwrapped(rotations, None if angles is None else angles[-1])
            _write_rows(file, order, moving, positions, np.degrees(angles))


def bvh_values(figure: Figure, pose: Floats) -> tuple[Floats, Floats]:
    """Channels of all joints: pose [N, P] -> positions in cm and angles in rad, [N, J, 3] each."""
    states, rest = figure.world_states(pose), figure.rest_world
    turns = multiply(states[..., 3:7], inverse(rest[:, 3:7]))  # since the rest pose, world axes
    positions, local = states[..., :3].copy(), turns.copy()
    for joint, parent in enumerate(figure.parents):
        if parent >= 0:
            back = inverse(turns[:, parent])
            positions[:, joint] = rotate(back, states[:, joint, :3] - states[:, parent, :3])
            local[:, joint] = multiply(back, turns[:, joint])
    return positions * CENTIMETRES, euler(local, ORDER)


def moved_joints(figure: Figure) -> NDArray[np.bool_]:
    """Joints with positions: roots, and joints whose distance from the parent can change, [J]."""
    transform = figure.skeleton.transform[:, : figure.pose_width].numpy()
    rows = transform.reshape(len(figure.parents), 7, -1)
    scales = np.zeros_like(rows[:, 6])  # exponent of the world-space scale, by parameter
    moved = np.zeros(len(figure.parents), bool)
    for joint, parent in enumerate(figure.parents):
        above = scales[parent] if parent >= 0 else 0.0
        scales[joint] = above + rows[joint, 6]
        own = np.abs(rows[joint, :3]).max() > 0
        moved[joint] = parent < 0 or own or np.abs(above).max() > 1e-9
    return moved


def depth_first(parents: Sequence[int]) -> list[int]:
    """Joints in the order of the file. Raises: AnimationError: when there are several roots."""
    roots = [joint for joint, parent in enumerate(parents) if parent < 0]
    if len(roots) != 1:
        raise AnimationError(f"skeleton: {len(roots)} roots; BVH holds one, export glb instead")

    def below(joint: int) -> Iterator[int]:
        yield joint
        for child in children_of(parents, joint):
            yield from below(child)

    return list(below(roots[0]))


def children_of(parents: Sequence[int], joint: int) -> list[int]:
    """Joints directly below a joint."""
    return [child for child, parent in enumerate(parents) if parent == joint]


def joint_labels(names: Sequence[str]) -> list[str]:
    """Names without white space and other characters that readers split at."""
    return [re.sub(r"[^A-Za-z0-9_.:-]", "_", name) for name in names]


def _hierarchy(figure: Figure, moving: NDArray[np.bool_]) -> Iterator[str]:
    labels, parents = joint_labels(figure.joint_names), figure.parents
    at = figure.rest_world[:, :3] * CENTIMETRES

    def lines(joint: int, depth: int) -> Iterator[str]:
        parent, tab = parents[joint], "\t" * depth
        offset = at[joint] - (at[parent] if parent >= 0 else 0)
        channels = (*POSITIONS, *ROTATIONS) if moving[joint] else ROTATIONS
        yield f"{tab}{'JOINT' if parent >= 0 else 'ROOT'} {labels[joint]}\n{tab}{{\n"
        yield f"{tab}\tOFFSET {_triple(offset)}\n"
        yield f"{tab}\tCHANNELS {len(channels)} {' '.join(channels)}\n"
        children = children_of(parents, joint)
        for child in children:
            yield from lines(child, depth + 1)
        if not children:
            yield f"{tab}\tEnd Site\n{tab}\t{{\n"
            yield f"{tab}\t\tOFFSET {_triple(END * offset)}\n{tab}\t}}\n"
        yield f"{tab}}}\n"

    yield "HIERARCHY\n"
    yield from lines(depth_first(parents)[0], 0)


def _triple(values: Floats) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _write_rows(
    file: TextIO,
    order: list[int],
    moving: NDArray[np.bool_],
    positions: Floats,  # [N, J, 3] cm
    angles: Floats,  # [N, J, 3] degrees
) -> None:
    columns = []
    for joint in order:
        if moving[joint]:
            columns.append(positions[:, joint])
        columns.append(angles[:, joint])
    table = np.concatenate(columns, axis=1)
    line = " ".join(["%.5f"] * table.shape[1]) + "\n"
    file.writelines(line % tuple(row) for row in table.tolist())


@dataclass(frozen=True)
class BvhMotion:
    """Content of a BVH file, in metres and radians."""

    names: tuple[str, ...]  # J
    parents: tuple[int, ...]
    frame_rate: float  # a second
    offsets: Floats  # [J, 3]
    positions: Floats  # [T, J, 3] offset of the joint, or the position that replaces it
    rotations: Floats  # [T, J, 4] in the parent's frame


def read_bvh(path: Path) -> BvhMotion:
    """Read a BVH file with any order of channels.

    Raises: AnimationError: when the file is missing, damaged, or has no frames.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        head, _, tail = text.partition("MOTION")
        joints = list(_joints(head))
        frames, seconds, table = _table(tail, sum(len(joint.channels) for joint in joints))
    except OSError as error:
        raise AnimationError(f"{path}: BVH file cannot be read ({error.strerror})") from error
    except (ValueError, IndexError, KeyError) as error:
        raise AnimationError(f"{path}: damaged BVH file ({error}); export it again") from error
    if not joints or not frames or not np.isfinite(table).all():
        raise AnimationError(f"{path}: no frames, or values that are not finite; export it again")
    offsets = np.array([joint.offset for joint in joints]) / CENTIMETRES
    positions = np.repeat(offsets[None], frames, axis=0)
    rotations = np.zeros((frames, len(joints), 4))
    rotations[..., 3] = 1
    column = 0
    for number, joint in enumerate(joints):
        for channel in joint.channels:
            axis, values = "XYZ".index(channel[0].upper()), table[:, column]
            column += 1
            if channel.lower().endswith("position"):
                positions[:, number, axis] = values / CENTIMETRES
            else:
                turn = from_axis(axis, np.radians(values))
                rotations[:, number] = multiply(rotations[:, number], turn)
    return BvhMotion(
        tuple(joint.name for joint in joints),
        tuple(joint.parent for joint in joints),
        1 / seconds,
        offsets,
        positions,
        rotations,
    )


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: tuple[str, ...] = ()


def _joints(head: str) -> Iterator[_Joint]:
    """Parse the hierarchy."""
    found: list[_Joint] = []
    open_joints: list[int] = []
    current = ended = -1
    for words in (line.split() for line in head.splitlines()):
        match words:
            case ["ROOT" | "JOINT", *name]:
                found.append(_Joint(" ".join(name), open_joints[-1] if open_joints else -1))
                current = len(found) - 1
            case ["End", *_]:
                current = ended
            case ["{"]:
                open_joints.append(current)
            case ["}"]:
                open_joints.pop()
            case ["OFFSET", x, y, z] if current != ended:
                found[current].offset = (float(x), float(y), float(z))
            case ["CHANNELS", count, *channels]:
                if int(count) != len(channels):
                    raise ValueError(f"{found[current].name} lists {len(channels)} of {count}")
                found[current].channels = tuple(channels)
    yield from found


def _table(tail: str, width: int) -> tuple[int, float, Floats]:
    """Parse frames, frame time and values."""
    match = re.match(r"\s*Frames:\s*(\d+)\s+Frame Time:\s*(\S+)", tail)
    if match is None:
        raise ValueError("Frames or Frame Time not found")
    frames, seconds = int(match[1]), float(match[2])
    values = np.array(tail[match.end() :].split(), dtype=np.float64)
    if seconds <= 0 or len(values) != frames * width:
        raise ValueError(f"{len(values)} values for {frames} frames of {width} channels")
    return frames, seconds, values.reshape(frames, width)
