"""Samples of a dataset: what a person's networks make of its sound, kept beside the truth.

Letters: R repetitions, T frames, K key poses. Every take has its own seed, made of the request's
seed, the cut's place in its split and the repetition; so a take is the same however many others
are drawn. Sound is heard once for all repetitions of a clip, which are drawn as one batch.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

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
class Drawing:
    """How a dataset is sampled."""

    repetitions: int
    seed: int
    steps: int
    guidance_face: float
    guidance_body: float
    diversity: float
    network: str = "both"
    key_poses: str = "guide"  # who leads the body: the guide, or the truth

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise ValueError(f"repetitions must be at least 1, got {self.repetitions}")
        for name, values in (("network", NETWORKS), ("key_poses", KEY_POSES)):
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {', '.join(values)}")

    def sampling(self, cut: Cut) -> Sampling:
        """The takes of one cut, one a repetition."""
        own = take_seed(self.seed, cut.place + 1)
        seeds = tuple(take_seed(own, repetition + 1) for repetition in range(self.repetitions))
        return Sampling(seeds, self.steps, self.guidance_face, self.guidance_body, self.diversity)


@dataclass(frozen=True)
class Takes:
    """All repetitions of a clip."""

    face: Floats | None  # [R, T, 256]
    pose: Floats | None  # [R, T, 104]
    key_poses: Floats | None  # [R, K, 104]


def draw(
    animator: Animator,
    clips: Sequence[Clip],
    drawing: Drawing,
    *,
    options: Mapping[str, Any],
    clock: Callable[[], float] = time.perf_counter,
) -> Results:
    """Sample every clip; all are of one length. options: kept with the results."""
    begun = clock()
    takes = []
    for number, clip in enumerate(clips, 1):
        takes.append(draw_takes(animator, clip, drawing))
        logger.info("sample %d of %d", number, len(clips))
    seconds = clock() - begun
    return Results(
        face=_together([take.face for take in takes]),
        pose=_together([take.pose for take in takes]),
        key_poses=_together([take.key_poses for take in takes]),
        true_face=np.stack([clip.face for clip in clips]),
        true_pose=np.stack([clip.pose for clip in clips]),
        face_present=np.stack([clip.present for clip in clips]),
        audio=np.stack([clip.audio for clip in clips]),
        lengths=np.array([len(clip.pose) for clip in clips], np.int64),
        scenes=np.array([clip.cut.scene.name for clip in clips]),
        first_frames=np.array([clip.cut.first_frame for clip in clips], np.int64),
        seeds=np.array([drawing.sampling(clip.cut).seeds for clip in clips], np.int64).T,
        sampling_seconds=seconds,
        options=options,
    )


@torch.inference_mode()
def draw_takes(animator: Animator, clip: Clip, drawing: Drawing) -> Takes:
    """All repetitions of one clip. A body alone is the body that is drawn with its face."""
    sampling = drawing.sampling(clip.cut)
    generators = take_generators(sampling)
    heard = animator.extract(torch.from_numpy(clip.audio))
    face = None
    if drawing.network == "body":
        animator.face_noise(heard, generators)
    else:
        face = _numbers(animator.faces(heard, sampling, generators))
    if drawing.network == "face":
        return Takes(face, None, None)
    keys = _keys(animator, heard, clip, drawing, generators)
    pose = _numbers(animator.poses(heard, keys, sampling, generators))
    return Takes(face, pose, _numbers(animator.networks.statistics.pose(keys)))


def _keys(
    animator: Animator,
    heard: ClipFeatures,
    clip: Clip,
    drawing: Drawing,
    generators: list[Generator],
) -> Tensor:
    """Normalised key poses [R, K, 104]; true ones are zero behind the end of a short clip."""
    if drawing.key_poses == "guide":
        return animator.keys(heard, drawing.diversity, generators)
    true = torch.from_numpy(clip.pose[::KEY_FRAMES]).to(animator.device)
    keys = normalised_pose(true, animator.networks.statistics)
    keys = functional.pad(keys, (0, 0, 0, heard.key_poses - len(keys)))
    return keys.expand(drawing.repetitions, -1, -1)


def normalised_pose(pose: Tensor, statistics: Statistics) -> Tensor:
    """Pose [..., 104] in rad and dm -> normalised."""
    return (pose - statistics.pose_mean) / statistics.pose_std


def _numbers(motion: Tensor) -> Floats:
    return motion.cpu().numpy()


def _together(takes: Sequence[Floats | None]) -> Floats | None:
    """N times [R, ...] -> [R, N, ...]."""
    drawn = [take for take in takes if take is not None]
    return np.stack(drawn, 1) if drawn else None
