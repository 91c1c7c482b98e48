"""A take as binary glTF: skeleton, skinned mesh with texture, animation, and shapes of the face.

Face units are morph targets at the full rate. A codec avatar has none: its surface becomes morph
targets by `decoded_shapes`. Letters: J joints, U shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.animation.gltf.decoded_shapes import decoded_shapes
from models.animation.gltf.document import Track, frame_seconds, new_document
from models.animation.gltf.skinned_mesh import add_joints, add_mesh, add_skin
from models.animation.humanoid import retarget_names
from models.animation.quaternions import continuous

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from models.animation.figure import Figure
    from models.animation.gltf.document import Filler, Slot
    from models.animation.rows import MotionRows

    Floats = NDArray[np.floating[Any]]

SHAPE_RATE = 10.0  # decoded surfaces a second
UNLIT = "KHR_materials_unlit"
CHANNELS = {"translation": slice(0, 3), "rotation": slice(3, 7), "scale": slice(7, 8)}


def write_glb(
    path: Path,
    figure: Figure,
    rows: MotionRows,
    *,
    title: str = "take",
    shape_rate: float = SHAPE_RATE,
) -> None:
    """Write a take. shape_rate: decoded surfaces of a codec avatar a second."""
    decoded = decoded_shapes(figure, rows, shape_rate)
    mesh = figure.mesh if decoded is None else decoded.mesh
    facts = {"person": figure.name, "frameRate": rows.frame_rate, "lift": figure.lift.tolist()}
    if decoded is not None:
        facts |= {"shapeRate": shape_rate, "shapeErrorMetres": round(decoded.error, 7)}
    document = new_document(facts, () if decoded is None else (UNLIT,))
    joints = add_joints(document, figure, figure.rest_local, retarget_names(figure.joint_names))
    roots = [joints[joint] for joint, parent in enumerate(figure.parents) if parent < 0]
    skin = add_skin(document, joints, figure.bind, roots[0])
    node = add_mesh(document, mesh, skin, unlit=decoded is not None)
    document.add("scenes", {"nodes": [*roots, node]})
    document.members["scene"] = 0
    track = Track(document)
    every = track.times(frame_seconds(rows.frames, rows.frame_rate))
    slots = _joint_slots(track, figure, joints, every)
    weights = None
    if mesh.shapes:
        at = every if decoded is None else track.times(decoded.frames / rows.frame_rate)
        weights = track.slot(node, "weights", len(mesh.shapes), at)
    track.finish(title)
    with document.begin(path) as file:
        units = figure.unit_weights if decoded is None else None
        _fill(file, figure, rows, slots, weights, units)
        if decoded is not None and weights is not None:
            for number, values in decoded.weights(figure, rows):
                file.put(weights, number, values)


def _joint_slots(
    track: Track, figure: Figure, joints: list[int], times: int
) -> list[tuple[int, str, Slot]]:
    """Channels of every joint that some pose parameter moves."""
    driven = {"translation": slice(0, 3), "rotation": slice(3, 6), "scale": slice(6, 7)}
    return [
        (joint, path, track.slot(joints[joint], path, 4 if path == "rotation" else 3, times))
        for joint in range(len(joints))
        for path, channels in driven.items()
        if figure.driven[joint, channels].any()
    ]


def _fill(
    file: Filler,
    figure: Figure,
    rows: MotionRows,
    slots: list[tuple[int, str, Slot]],
    weights: Slot | None,
    units: Callable[[Floats], Floats] | None,
) -> None:
    before: Floats | None = None
    for piece in rows.pieces():
        states = figure.local_states(piece.pose)
        states[..., 3:7] = continuous(states[..., 3:7], before)
        before = states[-1, :, 3:7]
        for joint, path, slot in slots:
            values = states[:, joint, CHANNELS[path]]
            file.put(slot, piece.start, np.repeat(values, 3, 1) if path == "scale" else values)
        if weights is not None and units is not None:
            file.put(weights, piece.start, units(piece.face))
