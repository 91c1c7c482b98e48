"""Motion of all takes of a job in one file: plain numpy arrays, no pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch

from models.motion.pipeline import Motion
from worker.pipeline.motion_stream import TakeMotion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

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
            face, pose = (_unpacked(archive, f"{name}.npy", folder) for name in NAMES)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, TypeError) as error:
        raise MotionFileError(f"{path}: invalid motion file ({error})") from error
    if face.ndim != 3 or face.shape[:2] != pose.shape[:2]:
        raise MotionFileError(
            f"{path}: face {list(face.shape)} and pose {list(pose.shape)} do not match"
        )
    return [TakeMotion.of(Motion(face[k], pose[k])) for k in range(len(face))]


def _unpacked(archive: ZipFile, name: str, folder: Path) -> Tensor:
    file = archive.extract(name, folder)
    return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
