"""Work beside the caller: in a thread, whose reports of progress the caller passes on in turn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Progress = Callable[[str, float], None]

Result = TypeVar("Result")


class Stopped(Exception):
    """The caller no longer wants the result."""


class Beside(Generic[Result]):
    """Work in a thread. Use as a context: when the block fails, the work stops at its next report.

    Progress is reported in the thread of the caller only, after the work of the block: stages keep
    their order, and an exception from a report ends both.
    """

    def __init__(self, work: Callable[[Progress], Result]) -> None:
        """work: called with the function that receives its progress."""
        self._reports: SimpleQueue[tuple[str, float] | None] = SimpleQueue()
        self._stop = Event()
        self._inference = torch.is_inference_mode_enabled()  # a mode is that of one thread
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="beside")
        self._future = self._pool.submit(self._run, work)

    def __enter__(self) -> Beside[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def result(self, progress: Progress) -> Result:
        """Pass on all reports, wait for the work, and return its result or raise its error."""
        while (report := self._reports.get()) is not None:
            progress(*report)
        return self._future.result()

    def _run(self, work: Callable[[Progress], Result]) -> Result:
        try:
            with torch.inference_mode(self._inference):
                return work(self._report)
        finally:
            self._reports.put(None)

    def _report(self, stage: str, share: float) -> None:
        if self._stop.is_set():
            raise Stopped
        self._reports.put((stage, share))


@contextmanager
def half_of_threads() -> Iterator[None]:
    """Give each of two halves half of torch's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
