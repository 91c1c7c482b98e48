"""Motion of all takes of a job in one file: plain numpy arrays, no pickle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch

from models.motion.pipeline import Motion
from worker.pipeline.motion_stream import TakeMotion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NAMES = ("face", "pose")
ROWS = 3000  # frames written at a time


class MotionFileError(ValueError):
    """A file without valid motion."""


def save_takes(path: Path, takes: Sequence[TakeMotion]) -> None:
    """Write every take of a job: `face` [K, T, 256] and `pose` [K, T, 104], as `numpy.savez`."""
    frames = takes[0].frames
    with ZipFile(path, "w", allowZip64=True) as archive:
        for name in NAMES:
            width = getattr(takes[0].between(0, 1), name).shape[1]
            shape = (len(takes), frames, width)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for take in takes:
                    for start in range(0, frames, ROWS):
                        rows = getattr(take.between(start, min(start + ROWS, frames)), name)
                        file.write(rows.contiguous().numpy().astype("<f4", copy=False).tobytes())


def load_takes(path: Path) -> list[TakeMotion]:
    """Read a file of `save_takes`; its arrays are unpacked beside it, and read when needed.

    Raises: MotionFileError: for any other content.
    """
    folder = path.with_suffix("")
    try:
        with ZipFile(path) as archive:
            paths = [Path(archive.extract(f"{name}.npy", folder)) for name in NAMES]
        face, pose = (_mapped(path).shape for path in paths)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, TypeError) as error:
        raise MotionFileError(f"{path}: invalid motion file ({error})") from error
    if len(face) != 3 or face[:2] != pose[:2]:
        raise MotionFileError(f"{path}: face {list(face)} and pose {list(pose)} do not match")
    takes, frames = face[:2]
    return [
        TakeMotion(frames, partial(_read, paths, number), lambda _: frames)
        for number in range(takes)
    ]


def _read(paths: Sequence[Path], take: int, start: int, stop: int) -> Motion:
    # Mapped anew for each span: what is read of a mapped file counts as memory while it is mapped.
    return Motion(*(torch.from_numpy(_mapped(path)[take, start:stop].copy()) for path in paths))


def _mapped(path: Path) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
