"""Cuts of equal length from the scenes of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import InputError
from models.formats.dataset import find_scenes
from models.motion.speech import FRAME_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.formats.dataset import SceneData


def cuts(folder: Path, seconds: float, count: int) -> Iterator[tuple[SceneData, int, int]]:
    """Yield scene, first frame and frame after the last of `count` cuts, from all scenes in turn.

    Raises: InputError: when there are too few.
    """
    frames = round(seconds * FRAME_RATE)
    scenes = [files.open() for files in find_scenes(folder)]
    starts = [
        (start, scene)
        for start in range(0, max(scene.frames for scene in scenes), frames)
        for scene in scenes
        if start + frames <= scene.frames
    ]
    if len(starts) < count:
        raise InputError(f"{folder}: has {len(starts)} clips of {seconds:g} s; ask for fewer")
    for start, scene in starts[:count]:
        yield scene, start, start + frames
