"""Clips in several threads: those that wait are the next batch, and each has its own motion."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.motion.execution import sharing
from models.motion.execution.batches import Task, sample_tasks
from models.motion.execution.sharing import SharedAnimator
from models.motion.execution.sizes import BatchSizes
from models.motion.pipeline import Animator, Motion, Sampling
from models.motion.sampling import SegmentMotion, no_progress
from tests import tiny_person

FEW = Sampling((1,), 3, 1.5, 1.5, 0.9, "unipc")
LENGTHS = (150, 140, 131)
ROUNDING = 2e-4  # of the standard deviation of the person's codes and poses
CPU = torch.device("cpu")


class Canceled(Exception):
    pass


def clip(frames: int) -> tuple[Tensor, Sampling]:
    generator = torch.Generator().manual_seed(frames)
    audio = 0.1 * torch.randn(1600 * frames, 2, generator=generator)
    return audio, replace(FEW, seeds=(frames,))


class Clips:
    """Clips in threads; the first batch begins once `hold` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sharing, "WAIT_SECONDS", 0.02)
        monkeypatch.setattr(sharing, "sample_tasks", self._sample)
        networks = tiny_person.tiny_networks()
        sizes = BatchSizes(frames=10_000, clips=8)
        self.animator = SharedAnimator(networks, device=CPU, sizes=lambda: sizes)
        self.plain = Animator(networks, device=CPU)
        self.batches: list[list[int]] = []  # frames of the tasks of each batch
        self.began, self.hold = threading.Event(), threading.Event()
        self.fails = False
        self._pool = ThreadPoolExecutor(len(LENGTHS))

    def start(
        self, frames: int, progress: Callable[[str, float], None] = no_progress
    ) -> Future[list[Motion]]:
        return self._pool.submit(self.animator.animate, *clip(frames), progress=progress)

    def first_then_others(
        self, progress: Callable[[str, float], None] = no_progress
    ) -> list[Future[list[Motion]]]:
        """Start the first clip, and the others while it is sampled; progress: of the second."""
        first = self.start(LENGTHS[0])
        assert self.began.wait(60)
        return [first, self.start(LENGTHS[1], progress), self.start(LENGTHS[2])]

    def release_with(self, waiting: int) -> None:
        """Let the first batch go on once so many clips wait."""
        until = time.monotonic() + 60
        while len(self.animator._waiting) != waiting:
            assert time.monotonic() < until
            time.sleep(0.01)
        self.hold.set()

    def _sample(
        self, sampler: Animator, tasks: Sequence[Task], sizes: BatchSizes
    ) -> list[SegmentMotion | BaseException]:
        self.batches.append([task.segment.features.frames for task in tasks])
        self.began.set()
        assert self.hold.wait(60)
        if self.fails:
            raise ZeroDivisionError
        return sample_tasks(sampler, tasks, sizes)

    def assert_alone(self, motions: list[Motion], frames: int) -> None:
        statistics = tiny_person.tiny_statistics()
        for motion, own in zip(motions, self.plain.animate(*clip(frames)), strict=True):
            face = (motion.face - own.face) / statistics.code_std
            pose = (motion.pose - own.pose) / statistics.pose_std
            assert max(float(face.abs().max()), float(pose.abs().max())) < ROUNDING


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> Clips:
    return Clips(monkeypatch)


def test_clips_that_come_while_one_is_sampled_are_the_next_batch(clips: Clips) -> None:
    running = clips.first_then_others()
    clips.release_with(2)
    for frames, one in zip(LENGTHS, running, strict=True):
        clips.assert_alone(one.result(60), frames)
    assert [sorted(batch) for batch in clips.batches] == [[150], [131, 140]]


def test_a_clip_that_is_canceled_while_it_waits_is_not_sampled(clips: Clips) -> None:
    def progress(stage: str, share: float) -> None:
        if stage == "face":
            raise Canceled

    first, canceled, other = clips.first_then_others(progress)
    with pytest.raises(Canceled):
        canceled.result(60)
    clips.release_with(1)
    clips.assert_alone(first.result(60), LENGTHS[0])
    clips.assert_alone(other.result(60), LENGTHS[2])
    assert clips.batches == [[150], [131]]


def test_an_error_of_a_whole_batch_ends_each_of_its_clips_and_no_other(clips: Clips) -> None:
    clips.fails = True
    running = clips.first_then_others()
    clips.release_with(2)
    for one in running:
        with pytest.raises(ZeroDivisionError):
            one.result(60)
    clips.fails = False
    clips.assert_alone(clips.start(LENGTHS[0]).result(60), LENGTHS[0])
