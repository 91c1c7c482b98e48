"""Clips together against one after another: CPU time of the motion loop by the size of batches.

The loop is everything after speech features and the guide, which each clip has for itself: the
conditions of both denoisers and their calls. Sizes take turns, and the cheapest of all repeats
counts. Motion of a batch is compared with that of each clip alone. Features are computed once for
all sizes, and with the guide they have their own column.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from bench.timing import NO_COST, Cost, Report, report_on, timed
from models.motion.execution.batches import animate_together, sample_tasks
from models.motion.execution.sizes import BatchSizes, sizes_within
from models.motion.pipeline import Animator
from models.motion.sampling import joined, no_progress
from models.motion.speech import FRAME_RATE, SAMPLES_PER_FRAME
from models.motion.windows import ClipSampling, WindowConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from models.motion.execution.batches import Outcome, Task
    from models.motion.pipeline import ClipFeatures, Motion, Networks, Sampling
    from models.motion.sampling import Progress

ANY_FRAMES = 1_000_000
Result = TypeVar("Result")


@dataclass(frozen=True)
class BatchPlan:
    """Amount of work to measure."""

    jobs: int = 8
    seconds: float = 10.0  # of each clip
    window: float = 4.0  # seconds
    overlap: float = 1.0
    repeats: int = 3

    @property
    def windows(self) -> WindowConfig:
        """The windows, which do not move back, so that all calls have their length."""
        overlap = round(FRAME_RATE * self.overlap)
        frames = round(FRAME_RATE * self.window)
        return WindowConfig(frames - overlap, overlap, moves=0, start=frames - overlap)

    @property
    def sizes(self) -> list[int]:
        """Sizes of batches: 1, 2, 4 and so on, and all jobs."""
        powers = [2**n for n in range(self.jobs.bit_length()) if 2**n < self.jobs]
        return [*powers, self.jobs]


@dataclass(frozen=True)
class BatchRow:
    """Cost of all clips in batches of one size."""

    person: str
    frames: int  # of a segment
    clips: int  # of a batch
    chosen: bool  # the size that the measured table gives for these segments
    loop: Cost
    times: float  # CPU time of the loop one after another / together
    alone: Cost  # speech features and the guide, the same in any batch
    times_in_all: float
    difference: float  # largest, from the motion of each clip alone, in standard deviations of it


@dataclass(frozen=True)
class _Run:
    parts: list[Motion]
    loop: Cost
    guide: Cost


class _Remembering(Animator):
    """An animator that computes the features of some audio only once."""

    def __init__(self, networks: Networks, *, device: torch.device) -> None:
        super().__init__(networks, device=device)
        self._features: dict[object, Any] = {}
        self.cost = NO_COST  # of all features

    def extract(self, audio: Tensor, *, progress: Progress = no_progress) -> ClipFeatures:
        return self._once(audio, 0, lambda: super(_Remembering, self).extract(audio))

    def speech_rows(self, audio: Tensor, frames: int, progress: Progress = no_progress) -> Tensor:
        rows = super().speech_rows
        return self._once(audio, frames, lambda: rows(audio, frames))

    def lip_rows(
        self, speech: Tensor, audio: Tensor, frames: int, progress: Progress = no_progress
    ) -> Tensor:
        rows = super().lip_rows
        return self._once(audio, -frames, lambda: rows(speech, audio, frames))

    def _once(self, audio: Tensor, frames: int, compute: Callable[[], Result]) -> Result:
        key = hashlib.sha256(audio.numpy().tobytes()).digest(), frames
        if key not in self._features:
            once = timed(compute)
            self.cost += once.cost
            self._features[key] = once.result
        return cast("Result", self._features[key])


def measure_batches(
    animator: Animator, person: str, sampling: Sampling, plan: BatchPlan
) -> Report[BatchRow]:
    """Measure the clips in windows, and whole, in batches of every size."""
    audio = [_audio(plan.seconds, job) for job in range(plan.jobs)]
    rows = []
    window = plan.windows.first(sampling.steps)
    for frames in (window, round(FRAME_RATE * plan.seconds)):
        whole = frames - 1 if frames == window else frames
        remembering = _Remembering(animator.networks, device=animator.device)
        _run(remembering, audio, sampling, plan, whole, 1)
        chosen = _chosen(remembering, frames, plan.jobs)
        runs: dict[int, list[_Run]] = {size: [] for size in sorted({*plan.sizes, chosen})}
        for _ in range(plan.repeats):
            for size, done in runs.items():
                done.append(_run(remembering, audio, sampling, plan, whole, size))
        one = _cheapest(runs[1])
        alone = remembering.cost + one.guide
        for size, done in runs.items():
            best = _cheapest(done)
            rows.append(
                BatchRow(
                    person,
                    frames,
                    size,
                    size == chosen,
                    best.loop,
                    one.loop.cpu / best.loop.cpu,
                    alone,
                    (one.loop + alone).cpu / (best.loop + alone).cpu,
                    _difference(best.parts, one.parts),
                )
            )
    return report_on(animator.device, rows)


def batch_table(report: Report[BatchRow]) -> str:
    """Return the report as text."""
    head = (
        f"{'person':10}{'frames':>7}{'batch':>6}{'loop':>20}{'times':>8}{'alone':>20}"
        f"{'in all':>8}{'difference':>12}"
    )
    lines = [
        f"{row.person:10}{row.frames:7}{row.clips:5}{'*' if row.chosen else ' '}"
        f"{row.loop!s:>20}{row.times:7.2f}x{row.alone!s:>20}{row.times_in_all:7.2f}x"
        f"{row.difference:12.1e}"
        for row in report.rows
    ]
    notes = [
        "CPU seconds of all clips (wall clock in brackets). times: one after another / together.",
        "alone: speech features and the guide, the same in any batch. in all: times, with these.",
        "*: the size that the worker takes, by its table.",
        "difference: largest, from the motion of each clip alone, in its standard deviations.",
    ]
    return "\n".join([report.title("clips together"), *notes, "", head, *lines, ""])


def _chosen(animator: Animator, frames: int, jobs: int) -> int:
    """Return the size of batches of the measured table, with any memory."""
    sizes = sizes_within(animator.networks, animator.device, jobs, 1e15)
    return max(map(len, sizes.batches(dict.fromkeys(range(jobs), frames))))


def _audio(seconds: float, job: int) -> Tensor:
    """Noise in syllables, other ones for each job, [n, 2]."""
    samples = round(seconds * FRAME_RATE) * SAMPLES_PER_FRAME
    generator = torch.Generator().manual_seed(job)
    loudness = torch.rand(samples // 4800 + 1, 2, generator=generator).repeat_interleave(4800, 0)
    return 0.2 * torch.randn(samples, 2, generator=generator) * loudness[:samples]


def _run(
    animator: Animator,
    audio: Sequence[Tensor],
    sampling: Sampling,
    plan: BatchPlan,
    whole: int,
    size: int,
) -> _Run:
    clips = [
        ClipSampling(animator, [each], sampling, windows=plan.windows, whole=whole)
        for each in audio
    ]
    loop = guide = NO_COST

    def sample(tasks: Sequence[Task]) -> list[Outcome]:
        nonlocal loop, guide
        guide += timed(lambda: [task.segment.body(no_progress) for task in tasks]).cost
        sizes = BatchSizes(frames=ANY_FRAMES, clips=size)
        one = timed(partial(sample_tasks, animator, tasks, sizes))
        loop += one.cost
        return one.result

    parts = []
    for motions in animate_together(clips, sample):
        if isinstance(motions, BaseException):
            raise motions
        parts.append(joined([part[0] for part in motions]))
    return _Run(parts, loop, guide)


def _cheapest(runs: Sequence[_Run]) -> _Run:
    return min(runs, key=lambda run: run.loop.cpu)


def _difference(motions: Sequence[Motion], alone: Sequence[Motion]) -> float:
    worst = 0.0
    for name in ("face", "pose"):
        reference = torch.stack([getattr(motion, name) for motion in alone])
        other = torch.stack([getattr(motion, name) for motion in motions])
        share = (other - reference).abs().amax() / reference.std()
        worst = max(worst, float(share))
    return worst
