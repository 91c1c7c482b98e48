"""Sampling of a dataset: motion of a person's networks for its audio, next to the truth.

Letters: R repetitions, T frames, K key poses. The seed of every take derives from the seed of the
settings, the index of the cut in its split, and the repetition, so a take does not depend on how
many others are sampled. Features are computed once for all repetitions of a clip, which are sampled
as one batch.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from contracts.samplers import DEFAULT_SAMPLER
from models.formats.results import Results
from models.motion.denoiser import KEY_FRAMES
from models.motion.pipeline import Sampling, take_generators, take_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from models.motion.pipeline import Animator, ClipFeatures
    from models.motion.statistics import Statistics
    from training.data.cuts import Clip, Cut

    Floats = NDArray[np.float32]

logger = logging.getLogger(__name__)

NETWORKS = ("face", "body", "both")
KEY_POSES = ("guide", "true")


@dataclass(frozen=True)
class SamplingSettings:
    """Settings for sampling a dataset."""

    repetitions: int
    seed: int
    steps: int
    guidance_face: float
    guidance_body: float
    diversity: float
    network: str = "both"
    key_poses: str = "guide"  # source of the body's key poses: guide or truth
    sampler: str = DEFAULT_SAMPLER
    guidance_until: int = 0

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise ValueError(f"repetitions must be at least 1, got {self.repetitions}")
        for name, values in (("network", NETWORKS), ("key_poses", KEY_POSES)):
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}"
                )

    def sampling(self, cut: Cut) -> Sampling:
        """Takes of one cut, one per repetition."""
        cut_seed = take_seed(self.seed, cut.index + 1)
        seeds = tuple(take_seed(cut_seed, number + 1) for number in range(self.repetitions))
        return Sampling(
            seeds,
            self.steps,
            self.guidance_face,
            self.guidance_body,
            self.diversity,
            self.sampler,
            self.guidance_until,
        )


@dataclass(frozen=True)
class Takes:
    """Motion of all repetitions of a clip."""

    face: Floats | None  # [R, T, 256]
    pose: Floats | None  # [R, T, 104]
    key_poses: Floats | None  # [R, K, 104]


def sample_clips(
    animator: Animator,
    clips: Sequence[Clip],
    settings: SamplingSettings,
    *,
    options: Mapping[str, Any],
    clock: Callable[[], float] = time.perf_counter,
) -> Results:
    """Sample all clips, which have the same length. options: stored with the results."""
    started = clock()
    takes = []
    for number, clip in enumerate(clips, 1):
        takes.append(sample_takes(animator, clip, settings))
        logger.info("sample %d of %d", number, len(clips))
    seconds = clock() - started
    return Results(
        face=_stack([take.face for take in takes]),
        pose=_stack([take.pose for take in takes]),
        key_poses=_stack([take.key_poses for take in takes]),
        true_face=np.stack([clip.face for clip in clips]),
        true_pose=np.stack([clip.pose for clip in clips]),
        face_present=np.stack([clip.present for clip in clips]),
        audio=np.stack([clip.audio for clip in clips]),
        lengths=np.array([len(clip.pose) for clip in clips], np.int64),
        scenes=np.array([clip.cut.scene.name for clip in clips]),
        first_frames=np.array([clip.cut.first_frame for clip in clips], np.int64),
        seeds=np.array([settings.sampling(clip.cut).seeds for clip in clips], np.int64).T,
        sampling_seconds=seconds,
        options=options,
    )


@torch.inference_mode()
def sample_takes(animator: Animator, clip: Clip, settings: SamplingSettings) -> Takes:
    """Sample all repetitions of one clip. A body alone equals the body sampled with its face."""
    sampling = settings.sampling(clip.cut)
    generators = take_generators(sampling)
    features = animator.extract(torch.from_numpy(clip.audio))
    face = None
    if settings.network == "body":
        animator.face_noise(features, generators)
    else:
        face = _to_numpy(animator.faces(features, sampling, generators))
    if settings.network == "face":
        return Takes(face, None, None)
    keys = _keys(animator, features, clip, settings, generators)
    pose = _to_numpy(animator.poses(features, keys, sampling, generators))
    return Takes(face, pose, _to_numpy(animator.networks.statistics.pose(keys)))


def _keys(
    animator: Animator,
    features: ClipFeatures,
    clip: Clip,
    settings: SamplingSettings,
    generators: list[Generator],
) -> Tensor:
    """Normalised key poses [R, K, 104]; true ones are zero-padded after the end of a short clip."""
    if settings.key_poses == "guide":
        return animator.keys(features, settings.diversity, generators)
    true = torch.from_numpy(clip.pose[::KEY_FRAMES]).to(animator.device)
    keys = normalised_pose(true, animator.networks.statistics)
    keys = functional.pad(keys, (0, 0, 0, features.key_poses - len(keys)))
    return keys.expand(settings.repetitions, -1, -1)


def normalised_pose(pose: Tensor, statistics: Statistics) -> Tensor:
    """Pose [..., 104] in rad and dm -> normalised."""
    return (pose - statistics.pose_mean) / statistics.pose_std


def _to_numpy(motion: Tensor) -> Floats:
    return motion.cpu().numpy()


def _stack(takes: Sequence[Floats | None]) -> Floats | None:
    """N times [R, ...] -> [R, N, ...]."""
    present = [take for take in takes if take is not None]
    return np.stack(present, 1) if present else None
