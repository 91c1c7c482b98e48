"""Means and standard deviations of a person, for normalising motion and audio.

Letters: T frames, n samples at 48 kHz.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.checkpoint import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

LENGTHS = {"code_mean": 256, "code_std": 256, "pose_mean": 104, "pose_std": 104, "audio_mean": 2}


@dataclass(frozen=True)
class Statistics:
    """Means and standard deviations of face codes, pose and audio."""

    code_mean: Tensor  # [256]
    code_std: Tensor  # [256]
    pose_mean: Tensor  # [104]
    pose_std: Tensor  # [104]
    audio_mean: Tensor  # [2], per channel
    audio_std: float  # of both channels together

    def normalised_audio(self, audio: Tensor) -> Tensor:
        """Normalise audio in [-1, 1], [..., n, 2]."""
        return (audio - self.audio_mean) / self.audio_std

    def face(self, normalised: Tensor) -> Tensor:
        """Denormalise face codes [..., T, 256]."""
        return normalised * self.code_std + self.code_mean

    def pose(self, normalised: Tensor) -> Tensor:
        """Denormalise a pose [..., T, 104], in rad and dm."""
        return normalised * self.pose_std + self.pose_mean


def load_statistics(path: Path, *, device: torch.device) -> Statistics:
    """Load stats.json.

    Raises: CheckpointError: when the file or a statistic is missing, damaged or of another length.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: statistics not found; copy the whole person directory")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        tensors = {
            name: torch.tensor(values[name], dtype=torch.float32, device=device) for name in LENGTHS
        }
        audio_std = float(values["audio_std_flat"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, or a statistic is missing ({error!r})") from error
    for name, length in LENGTHS.items():
        if tensors[name].shape != (length,):
            shape = list(tensors[name].shape)
            raise CheckpointError(f"{path}: {name} must have {length} numbers, found {shape}")
    return Statistics(**tensors, audio_std=audio_std)
