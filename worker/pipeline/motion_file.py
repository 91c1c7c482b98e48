"""Motion of all takes of a job in one file: plain numpy arrays, no pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import torch

from models.motion.pipeline import Motion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class MotionFileError(ValueError):
    """A file without valid motion."""


def save_takes(path: Path, takes: Sequence[Motion]) -> None:
    """Write every take of a job: `face` [K, T, 256] and `pose` [K, T, 104]."""
    face = torch.stack([take.face for take in takes]).numpy()
    pose = torch.stack([take.pose for take in takes]).numpy()
    np.savez(path, face=face, pose=pose)


def load_takes(path: Path) -> list[Motion]:
    """Read a file of `save_takes`. Raises: MotionFileError: for any other content."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            face, pose = torch.from_numpy(archive["face"]), torch.from_numpy(archive["pose"])
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, TypeError) as error:
        raise MotionFileError(f"{path}: invalid motion file ({error})") from error
    if face.ndim != 3 or face.shape[:2] != pose.shape[:2]:
        raise MotionFileError(
            f"{path}: face {list(face.shape)} and pose {list(pose.shape)} do not match"
        )
    return [Motion(face=face[k], pose=pose[k]) for k in range(len(face))]
