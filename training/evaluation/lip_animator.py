"""Lips of the regressor and its finishing step alone, without sampling.

Lips do not depend on the sampler, the steps or the seed, so they are measured in seconds: brows,
lids, smiles and the body of this motion are at rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from models.finishing.animator import Finishing, load_finishing
from models.motion.lips import load_lip_units, rested
from models.motion.pipeline import LIP_UNITS, SAMPLES_PER_FRAME, Motion
from training.data.features import load_extractor

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from models.motion.lips import LipUnits
    from models.motion.pipeline import Sampling
    from training.data.features import FeatureExtractor

CPU = torch.device("cpu")


class LipsAnimator:
    """Animator whose motion is that of the lips, from the rows of a whole clip."""

    def __init__(self, extractor: FeatureExtractor, network: LipUnits, step: Finishing) -> None:
        """step: finishing with `lips` only."""
        self._extractor, self._network, self._step = extractor, network, step

    @torch.no_grad()
    def animate(self, audio: Tensor, sampling: Sampling) -> list[Motion]:
        """Return one motion for each seed: audio [n, 2] -> T = n / 1600 frames."""
        rows = self._extractor.speech(self._extractor.normalise(audio.numpy()))
        count, rig = rows.shape[1], self._step.rig
        missing = count * SAMPLES_PER_FRAME - len(audio)
        lips = rested(self._network.lips(rows)[0], pad(audio.float(), (0, 0, 0, missing)))
        rest = torch.zeros(count, len(rig.face_basis)), torch.zeros(count, len(rig.parameters))
        take = self._step.take(0, {})
        motion = take.push(Motion(*rest, lips), torch.zeros(count, 2), last=True)
        return [motion] * len(sampling.seeds)


def load_lips_animator(person: Path) -> LipsAnimator | None:
    """Load the lips of a person; None for one without a regressor or without the step `lips`.

    Raises: CheckpointError: for damaged files.
    """
    finishing = load_finishing(person)
    if finishing is None or "lips" not in finishing.names or not (person / LIP_UNITS).is_file():
        return None
    return LipsAnimator(
        load_extractor(person, device=CPU),
        load_lip_units(person / LIP_UNITS, device=CPU),
        Finishing(finishing.rig, {"lips": finishing.parameters("lips")}),
    )
