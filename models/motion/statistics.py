"""Statistics of a person: what motion and sound are normalised with.

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
    """Means and spreads of face codes, pose and sound."""

    code_mean: Tensor  # [256]
    code_std: Tensor  # [256]
    pose_mean: Tensor  # [104]
    pose_std: Tensor  # [104]
    audio_mean: Tensor  # [2], by channel
    audio_std: float  # one for both channels

    def normalised_audio(self, audio: Tensor) -> Tensor:
        """Sound in [-1, 1], [..., n, 2] -> [..., n, 2]."""
        return (audio - self.audio_mean) / self.audio_std

    def face(self, normalised: Tensor) -> Tensor:
        """Normalised face codes [..., T, 256] -> face codes."""
        return normalised * self.code_std + self.code_mean

    def pose(self, normalised: Tensor) -> Tensor:
        """Normalised pose [..., T, 104] -> pose, rad and dm."""
        return normalised * self.pose_std + self.pose_mean


def load_statistics(path: Path, *, device: torch.device) -> Statistics:
    """stats.json. CheckpointError names what is missing or of the wrong length."""
    if not path.is_file():
        raise CheckpointError(f"no statistics at {path}; is this a whole person directory?")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        tensors = {
            name: torch.tensor(values[name], dtype=torch.float32, device=device) for name in LENGTHS
        }
        audio_std = float(values["audio_std_flat"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or lacks a statistic: {error!r}") from error
    for name, length in LENGTHS.items():
        if tensors[name].shape != (length,):
            found = list(tensors[name].shape)
            raise CheckpointError(f"{path}: {name} must have {length} numbers, found {found}")
    return Statistics(**tensors, audio_std=audio_std)
