"""Windows compared with whole-clip sampling from the same noise and key poses.

Letters: N takes, T frames, C channels, K key poses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.motion import DIVERSITY, GUIDANCE_BODY, GUIDANCE_FACE
from bench.sampling.borders import AREA
from contracts.quality import STANDARD
from models.motion.pipeline import Animator, Sampling
from models.motion.sampling import joined
from models.motion.speech import SAMPLES_PER_FRAME
from models.motion.windows import WINDOWS, ClipSampling, borders, suited_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.motion.execution.lanes import Lane
    from models.motion.pipeline import Networks
    from models.motion.windows import WindowConfig


@dataclass(frozen=True)
class Difference:
    """Mean absolute difference between a clip in windows and the whole clip, of one network."""

    network: str
    clips: int
    seconds: float  # of each
    steps: int
    at_borders: float  # over 30 frames around each border, over the spread of the motion
    elsewhere: float
    ratio: float  # at borders / elsewhere


class Recorded(Animator):
    """An animator that remembers the noise and the tokens that windows started from."""

    def __init__(self, networks: Networks, windows: WindowConfig) -> None:
        super().__init__(networks, device=networks.statistics.code_mean.device)
        self._windows = windows
        self._noise: dict[str, list[Tensor]] = {"face": [], "body": []}
        self._tokens: list[Tensor] = []

    def normalised_faces(
        self, features: Any, sampling: Any, noise: Tensor, **options: Any
    ) -> Tensor:
        """Sample as the animator does."""
        self._remember("face", noise, **options)
        return super().normalised_faces(features, sampling, noise, **options)

    def normalised_poses(
        self, features: Any, keys: Any, sampling: Any, noise: Tensor, **options: Any
    ) -> Tensor:
        """Sample as the animator does."""
        self._remember("body", noise, **options)
        return super().normalised_poses(features, keys, sampling, noise, **options)

    def key_tokens(self, *arguments: Any, **options: Any) -> Tensor:
        """Sample as the animator does."""
        tokens = super().key_tokens(*arguments, **options)
        known = options.get("known")
        self._tokens.append(tokens if known is None else tokens[:, known.shape[1] :])
        return tokens

    def _remember(self, name: str, noise: Tensor, *, lane: Lane | None = None, **_: Any) -> None:
        known = lane.known[0].shape[2] if lane is not None and lane.known else 0
        self._noise[name].append(noise[:, known:])

    @torch.inference_mode()
    def both(self, audio: Tensor, sampling: Sampling) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the motion in windows and of the whole clip of each network, [T, C]."""
        shorter = len(audio) // SAMPLES_PER_FRAME - 1
        clip = ClipSampling(self, [audio], sampling, windows=self._windows, whole=shorter)
        in_windows = joined([part[0] for part in clip.parts()])
        whole = Animator(self.networks, device=self.device)
        features = whole.extract(audio)
        face, body = (torch.cat(noise, dim=1) for noise in self._noise.values())
        keys = self.networks.tokenizer.decode(torch.cat(self._tokens, dim=1))
        statistics = self.networks.statistics
        faces = statistics.face(whole.normalised_faces(features, sampling, face))[0]
        poses = statistics.pose(whole.normalised_poses(features, keys, sampling, body))[0]
        return {
            "face": (in_windows.face, faces[: len(in_windows.face)].cpu()),
            "body": (in_windows.pose, poses[: len(in_windows.pose)].cpu()),
        }


def compare(
    networks: Networks,
    clips: Sequence[Tensor],  # [n, 2], of equal lengths that the networks take whole
    steps: int,
    *,
    windows: WindowConfig = WINDOWS,
) -> list[Difference]:
    """Sample each clip both ways and compare."""
    sums: dict[str, list[tuple[float, float]]] = {}
    seconds = len(clips[0]) / 48_000
    for number, audio in enumerate(clips):
        sampling = Sampling(
            (number + 1,), steps, GUIDANCE_FACE, GUIDANCE_BODY, DIVERSITY, STANDARD.sampler,
            STANDARD.guidance_until,
        )  # fmt: skip
        recorded = Recorded(networks, windows)
        suited = suited_windows(recorded, windows)
        for network, (one, other) in recorded.both(audio, sampling).items():
            sums.setdefault(network, []).append(_differences(one, other, steps, suited))
    result = []
    for network, pairs in sums.items():
        border, elsewhere = torch.tensor(pairs).mean(0).tolist()
        result.append(
            Difference(network, len(clips), seconds, steps, border, elsewhere, border / elsewhere)
        )
    return result


def _differences(
    one: Tensor, other: Tensor, steps: int, windows: WindowConfig
) -> tuple[float, float]:
    """Mean difference of two motions [T, C] at borders and elsewhere, over the spread."""
    difference = (one - other).abs().mean(1) / other.std()
    frame = torch.arange(len(one))
    near = torch.zeros(len(one), dtype=torch.bool)
    for border in borders(len(one), steps, windows):
        near |= (frame >= border - AREA // 2) & (frame < border + AREA // 2)
    return float(difference[near].mean()), float(difference[~near].mean())
