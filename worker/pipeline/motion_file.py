"""Motion as a file: plain numpy arrays, no pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import torch

from models.motion.pipeline import Motion
from worker.pipeline.encode import FRAME_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ArchiveError(ValueError):
    """A file that holds no motion of ours."""


def save_takes(path: Path, takes: Sequence[Motion]) -> None:
    """Every take of a job: `face` [K, T, 256] and `pose` [K, T, 104]."""
    face = torch.stack([take.face for take in takes]).numpy()
    pose = torch.stack([take.pose for take in takes]).numpy()
    np.savez(path, face=face, pose=pose)


def load_takes(path: Path) -> list[Motion]:
    """What `save_takes` wrote. ArchiveError where it is something else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            face, pose = torch.from_numpy(archive["face"]), torch.from_numpy(archive["pose"])
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, TypeError) as error:
        raise ArchiveError(f"{path} holds no motion: {error}") from error
    if face.ndim != 3 or face.shape[:2] != pose.shape[:2]:
        raise ArchiveError(f"{path} holds face {list(face.shape)} and pose {list(pose.shape)}")
    return [Motion(face=face[k], pose=pose[k]) for k in range(len(face))]


def save_output(path: Path, motion: Motion, *, person: str, seed: int) -> None:
    """One take for its owner, as docs/api.md describes it."""
    np.savez(
        path,
        face=motion.face.numpy(),
        pose=motion.pose.numpy(),
        frame_rate=np.int64(FRAME_RATE),
        person=np.str_(person),
        seed=np.int64(seed),
    )
