"""Motion of the takes of a job, readable from its first frames on, while the rest is sampled.

A thread samples part after part into files; readers wait for the frames that they need. Files
instead of a queue in memory: takes are written one after another, and a later attempt of the job
reuses the motion. Of several performers, the one with the fewest frames is next, so that all of
them can be rendered beside each other. After the first part the thread waits until a second of it
is rendered, which otherwise would share the cores with the sampling of what is shown later.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from models.motion.pipeline import Motion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from io import BufferedWriter
    from pathlib import Path

    from worker.pipeline.progress import Progress

    Sources = Callable[[Progress], Sequence[Iterable[list[Motion]]]]

SPAN = 1800  # most frames that are read at a time
FIRST_SPAN = 40  # the same at the start: a second and a batch


class StreamStopped(Exception):
    """End of the sampling, because its reader has gone."""


@dataclass(frozen=True)
class TakeMotion:
    """Motion of one take, of which the first frames may exist before the last."""

    frames: int  # T
    read: Callable[[int, int], Motion]  # frames [start, stop), which exist
    wait: Callable[[int], int]  # waits for frames after this one; returns how many exist

    @classmethod
    def of(cls, motion: Motion) -> TakeMotion:
        """Return motion that is complete."""
        frames = len(motion.face)
        return cls(
            frames,
            lambda start, stop: Motion(motion.face[start:stop], motion.pose[start:stop]),
            lambda _: frames,
        )

    def span(self, start: int) -> Motion:
        """Wait for frames after `start` and return up to `SPAN` of them, or `FIRST_SPAN`."""
        return self.read(start, min(self.wait(start), start + (SPAN if start else FIRST_SPAN)))

    def between(self, start: int, stop: int) -> Motion:
        """Wait for frames [start, stop) and return them."""
        ready = start
        while ready < stop:
            ready = self.wait(ready)
        return self.read(start, stop)

    def every(self, step: int) -> TakeMotion:
        """Return every `step`th frame."""

        def read(start: int, stop: int) -> Motion:
            motion = self.read(start * step, min(stop * step, self.frames))
            return Motion(motion.face[::step], motion.pose[::step])

        def wait(start: int) -> int:
            ready = start * step
            while ready < min((start + 1) * step, self.frames):
                ready = self.wait(ready)
            return ready // step if ready < self.frames else -(-self.frames // step)

        return TakeMotion(-(-self.frames // step), read, wait)


class MotionStream:
    """`with MotionStream(sources, ...) as stream:`; the sampling ends with the block.

    Progress is reported in the thread of the reader only, when it waits or calls `report`.
    """

    def __init__(
        self,
        sources: Sources,
        folder: Path,
        *,
        frames: int,
        takes: int,
        progress: Progress,
        performers: int = 1,
        on_complete: Callable[[list[TakeMotion]], None] = lambda takes: None,
    ) -> None:
        """sources: called with the function that receives its progress, in a thread; returns the
        parts of each performer, with one motion for each take.

        frames: of each take. takes: of each performer. on_complete: called once, in the thread of
        the reader.
        """
        self._sources, self._folder, self._progress = sources, folder, progress
        self._count, self._on_complete = takes, on_complete
        self._changed = threading.Condition()
        self._reports: dict[str, float] = {}
        self._ready = [0] * performers  # frames
        self._widths = [(0, 0)] * performers
        self._ended = self._stop = self._completed = self._goes_on = False
        self._error: BaseException | None = None
        self._frames = frames
        run = partial(copy_context().run, self._run)  # the logger's context is that of the job
        self._thread = threading.Thread(target=run, name="motion", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def takes(self) -> list[TakeMotion]:
        """The motion of every take: all of the first performer, then those of the next."""
        return [self._take(number) for number in range(self._count * len(self._ready))]

    def report(self, stage: str, fraction: float) -> None:
        """Report progress of another stage, and that of the sampling.

        Raises: the error that has ended the sampling; any error of the progress function.
        """
        with self._changed:
            reports, self._reports = self._reports, {}
        self._pass_on(reports)
        self._progress(stage, fraction)

    def finish(self) -> None:
        """Wait for the end of the sampling. Raises: as `report`."""
        self._go_on()
        while not self._wait_for(lambda: self._ended):
            pass

    def _take(self, number: int) -> TakeMotion:
        return TakeMotion(
            self._frames,
            partial(self._read, number),
            partial(self._wait, number // self._count),
        )

    def _go_on(self) -> None:
        """Let the thread sample what follows the first part."""
        with self._changed:
            self._goes_on = True
            self._changed.notify_all()

    def _wait(self, performer: int, start: int) -> int:
        if start:  # the reader has used the frames before
            self._go_on()
        while not self._wait_for(lambda: self._ready[performer] > start):
            pass
        return self._ready[performer]

    def _wait_for(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition, new reports or the end; return whether the condition holds."""
        with self._changed:
            self._changed.wait_for(lambda: self._reports or self._ended or condition())
            reports, self._reports = self._reports, {}
            holds = condition()
        self._pass_on(reports)
        return holds

    def _pass_on(self, reports: dict[str, float]) -> None:
        for stage, fraction in reports.items():
            self._progress(stage, fraction)
        if self._error is not None:
            raise self._error
        ready, complete = min(self._ready), set(self._ready) == {self._frames}
        if self._ended and not complete:
            raise RuntimeError(f"{ready} of {self._frames} frames of motion were sampled")
        if complete and not self._completed:
            self._completed = True
            self._on_complete(self.takes)

    def _read(self, number: int, start: int, stop: int) -> Motion:
        arrays = []
        widths = self._widths[number // self._count]
        for path, width in zip(self._paths(number), widths, strict=True):
            values = np.fromfile(path, np.float32, (stop - start) * width, offset=4 * start * width)
            arrays.append(torch.from_numpy(values.reshape(-1, width)))
        return Motion(*arrays)

    def _paths(self, number: int) -> tuple[Path, Path]:
        return self._folder / f"face-{number}.f32", self._folder / f"pose-{number}.f32"

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with ExitStack() as stack:
                files = [
                    [stack.enter_context(path.open("wb")) for path in self._paths(number)]
                    for number in range(self._count * len(self._ready))
                ]
                sources = dict(enumerate(map(iter, self._sources(self._reported))))
                while sources:
                    self._hold()
                    performer = min(sources, key=self._ready.__getitem__)
                    if (part := next(sources[performer], None)) is None:
                        del sources[performer]
                        continue
                    first = performer * self._count
                    self._write(performer, files[first : first + self._count], part)
        except StreamStopped:
            pass
        except BaseException as caught:  # raised in the thread of the reader
            error = caught
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _hold(self) -> None:
        """Wait after the first part until its reader goes on."""
        with self._changed:
            if 0 < min(self._ready) < self._frames:
                self._changed.wait_for(lambda: self._goes_on or self._stop)
            if self._stop:
                raise StreamStopped

    def _write(self, performer: int, files: list[list[BufferedWriter]], part: list[Motion]) -> None:
        for pair, motion in zip(files, part, strict=True):
            for file, values in zip(pair, (motion.face, motion.pose), strict=True):
                file.write(values.contiguous().numpy().astype("<f4", copy=False).tobytes())
                file.flush()
        with self._changed:
            self._widths[performer] = part[0].face.shape[1], part[0].pose.shape[1]
            self._ready[performer] += len(part[0].face)
            self._changed.notify_all()

    def _reported(self, stage: str, share: float) -> None:
        with self._changed:
            if self._stop:
                raise StreamStopped
            self._reports[stage] = share
            self._changed.notify_all()
