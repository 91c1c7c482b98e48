"""Sampling shared by clips of several threads: what waits meanwhile is the next batch."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.motion.execution.batches import Task, sample_tasks
from models.motion.pipeline import Animator

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from models.motion.execution.batches import Outcome
    from models.motion.execution.sizes import BatchSizes
    from models.motion.sampling import Networks, Progress, Sampling, Segment, SegmentMotion

WAIT_SECONDS = 0.5  # between two reports of a clip that waits


@dataclass(eq=False)
class _Waiting:
    task: Task
    taken: bool = False
    outcome: Outcome | None = None


class SharedAnimator(Animator):
    """Animator for clips in several threads, whose segments are sampled together.

    One thread at a time samples all segments that wait, and then those that have come meanwhile:
    no segment waits for clips that may never come. A clip thus joins at the next batch.
    """

    def __init__(
        self, networks: Networks, *, device: torch.device, sizes: Callable[[], BatchSizes]
    ) -> None:
        """sizes: called before each batch."""
        super().__init__(networks, device=device)
        self._plain = Animator(networks, device=device)
        self._sizes = sizes
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._busy = False

    def sample(self, segment: Segment, sampling: Sampling, progress: Progress) -> SegmentMotion:
        """Sample the motion of a segment, with those of other threads."""
        own = _Waiting(Task(segment, sampling, progress))
        with self._changed:
            self._waiting.append(own)
            self._wait(own, progress)
            batch = self._take() if own.outcome is None else []
        if batch:
            self._sample_all(batch)
        assert own.outcome is not None
        if isinstance(own.outcome, BaseException):
            raise own.outcome
        return own.outcome

    def _wait(self, own: _Waiting, progress: Progress) -> None:
        """Wait for the outcome, or for the turn to sample; report meanwhile."""
        while not self._changed.wait_for(
            lambda: own.outcome is not None or not self._busy, WAIT_SECONDS
        ):
            if own.taken:  # the thread that samples reports
                continue
            try:
                progress("face", 0.0)
            except BaseException:
                self._waiting.remove(own)
                raise

    def _take(self) -> list[_Waiting]:
        self._busy = True
        batch, self._waiting = self._waiting, []
        for each in batch:
            each.taken = True
        return batch

    def _sample_all(self, batch: list[_Waiting]) -> None:
        outcomes: list[Outcome] = []
        error: BaseException | None = None
        try:
            outcomes = sample_tasks(self._plain, [each.task for each in batch], self._sizes())
        except BaseException as caught:
            error = caught
            raise
        finally:
            with self._changed:
                for place, each in enumerate(batch):
                    each.outcome = outcomes[place] if error is None else error
                self._busy = False
                self._changed.notify_all()
