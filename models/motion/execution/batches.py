"""Segments of several clips of one person, sampled together.

Speech features and the guide's tokens are those of each clip alone, bit by bit. Both denoisers run
once for all clips, so motion differs from that of each clip alone by rounding: sums of a matrix
product are taken in another order. A clip whose progress raises is dropped from what follows, and
the others are not changed.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from contracts.samplers import STUDENT
from models.motion.denoiser import Condition
from models.motion.execution.moving import Moving, Part
from models.motion.execution.padding import joined_conditions, padded, unpadded
from models.motion.sampling import SegmentMotion, conditioned, sampled, with_guidance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from models.motion.denoiser import Denoiser
    from models.motion.execution.moving import Sections
    from models.motion.execution.sizes import BatchSizes
    from models.motion.sampling import (
        BodyStart,
        Motion,
        MotionSampler,
        Progress,
        Sampling,
        Segment,
        Start,
    )
    from models.motion.windows import ClipSampling

    Outcome = SegmentMotion | BaseException

logger = logging.getLogger(__name__)


class Task(NamedTuple):
    """A segment that is to be sampled, with the options and the progress of its clip."""

    segment: Segment
    sampling: Sampling
    progress: Progress


class AllDropped(Exception):
    """No clip of the batch wants its motion any more."""


class SharedProgress:
    """Progress of a batch, passed on to each of its clips."""

    def __init__(self, reports: Sequence[Progress]) -> None:
        self._reports = reports
        self.errors: dict[int, BaseException] = {}  # by place in the batch

    def __call__(self, stage: str, share: float) -> None:
        """Report progress. Raises: AllDropped: when every clip has raised."""
        for place, report in enumerate(self._reports):
            if place in self.errors:
                continue
            try:
                report(stage, share)
            except Exception as error:
                self.errors[place] = error
        if len(self.errors) == len(self._reports):
            raise AllDropped


@torch.inference_mode()
def sample_together(sampler: MotionSampler, tasks: Sequence[Task]) -> list[Outcome]:
    """Return the motion of each segment, or the exception that its progress raised.

    The tasks have equal options, apart from seeds. Raises: any error of the networks.
    """
    shared = SharedProgress([task.progress for task in tasks])
    sampling = tasks[0].sampling
    work = _Batch(sampler, [task.segment for task in tasks], sampling)
    try:
        faces, poses = sampler.halves(work.faces, work.poses, sampling, shared)
    except AllDropped:
        return [shared.errors[place] for place in range(len(tasks))]
    pairs = enumerate(zip(faces, poses, strict=True))
    return [shared.errors.get(place) or SegmentMotion(*pair) for place, pair in pairs]


class _Batch:
    def __init__(
        self, sampler: MotionSampler, segments: Sequence[Segment], sampling: Sampling
    ) -> None:
        self._sampler, self._segments, self._sampling = sampler, segments, sampling

    def faces(self, progress: Progress) -> list[Tensor]:
        """Sample the face codes of all segments, [N, T, 256] each."""
        sampling = self._sampling
        conditions: list[Condition | Sections] = []
        for segment in self._segments:
            network, condition = self._sampler.face_condition(
                segment.features, sampling, moved=segment.face.lane is not None
            )
            conditions.append(condition)
        starts = [segment.face for segment in self._segments]
        report = partial(progress, "face")
        return self._sample(network, conditions, starts, sampling.guidance_face, report)

    def poses(self, progress: Progress) -> list[Tensor]:
        """Sample the poses of all segments, [N, T, 104] each."""
        count = len(self._segments)
        bodies: list[BodyStart] = []
        for segment in self._segments:
            bodies.append(
                segment.body(lambda stage, share: progress(stage, (len(bodies) + share) / count))
            )
        conditions: list[Condition | Sections] = []
        for segment, body in zip(self._segments, bodies, strict=True):
            network, with_keys = self._sampler.body_condition(
                segment.features, self._sampling, moved=body.start.lane is not None
            )
            conditions.append(with_keys(body.keys))
        starts = [body.start for body in bodies]
        report = partial(progress, "body")
        return self._sample(network, conditions, starts, self._sampling.guidance_body, report)

    def _sample(
        self,
        network: Denoiser,
        conditions: Sequence[Condition | Sections],
        starts: Sequence[Start],
        scale: float,
        progress: Callable[[float], None],
    ) -> list[Tensor]:
        """Run the loop of one network for all segments."""
        noises = [start.noise for start in starts]
        takes = [len(noise) for noise in noises]
        halves = 1 if self._sampling.sampler == STUDENT else 2
        if any(start.lane for start in starts):
            parts = [
                Part(condition, start.lane, slice(0, count), start.noise.shape[1])
                for condition, start, count in zip(conditions, starts, takes, strict=True)
            ]
            moving = Moving(network, parts, halves)
            denoise = with_guidance(moving.both, moving.conditional, scale, self._sampling)
        else:
            whole = [condition for condition in conditions if isinstance(condition, Condition)]
            condition = joined_conditions(whole, takes, halves)
            denoise = conditioned(network, condition, scale, self._sampling)
        return unpadded(sampled(denoise, padded(noises), self._sampling, progress), noises)


def sample_tasks(sampler: MotionSampler, tasks: Sequence[Task], sizes: BatchSizes) -> list[Outcome]:
    """Sample segments of any clips of a person, together where their options are equal.

    Batches hold segments of similar lengths, as many as the sizes allow. Returns for each task its
    motion, or the exception that ended it; an error of one does not end the others.
    """
    groups: dict[Sampling, dict[int, int]] = {}
    for place, task in enumerate(tasks):
        options = replace(task.sampling, seeds=(0,), extra=())
        groups.setdefault(options, {})[place] = task.segment.features.frames
    outcomes: dict[int, Outcome] = {}
    for frames in groups.values():
        for places in sizes.batches(frames):
            batch = [tasks[place] for place in places]
            outcomes |= zip(places, _sample_batch(sampler, batch), strict=True)
    return [outcomes[place] for place in range(len(tasks))]


def _sample_batch(sampler: MotionSampler, batch: Sequence[Task]) -> list[Outcome]:
    if len(batch) > 1:
        try:
            return sample_together(sampler, batch)
        except Exception as error:  # each alone shows whose it is
            logger.warning("clips are sampled one by one: %r", error)
        if sampler.device.type == "cuda":
            torch.cuda.empty_cache()  # outside `except`, where the error still refers to tensors
    return [_sample_alone(sampler, task) for task in batch]


def _sample_alone(sampler: MotionSampler, task: Task) -> Outcome:
    try:
        return sampler.sample(task.segment, task.sampling, task.progress)
    except Exception as error:
        return error


def animate_together(
    clips: Sequence[ClipSampling], sample: Callable[[Sequence[Task]], list[Outcome]]
) -> list[list[list[Motion]] | BaseException]:
    """Sample clips in rounds, the next segment of each at a time.

    sample: `sample_tasks`, with the networks of all clips and the sizes of batches.
    Returns the parts of each clip, as `stream` yields them, or the exception that ended it.
    """
    parts: list[list[list[Motion]]] = [[] for _ in clips]
    errors: dict[int, BaseException] = {}
    active = list(range(len(clips)))
    while active:
        tasks: dict[int, Task] = {}
        for place in active:
            clip = clips[place]
            try:
                segment = clip.segment()
            except Exception as error:
                errors[place] = error
            else:
                if segment is not None:
                    tasks[place] = Task(segment, clip.sampling, clip.progress)
        outcomes = sample(list(tasks.values()))
        for place, outcome in zip(tasks, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                errors[place] = outcome
            else:
                parts[place].append(clips[place].finish(outcome))
        active = [place for place in tasks if place not in errors]
    return [errors.get(place, each) for place, each in enumerate(parts)]
