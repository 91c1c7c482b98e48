"""Interface of pools: workers in slots, each with one item at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bulk.manifest import Item
    from worker.bulk.results import Attempts, Result

MOST_STARTS = 5  # of a worker that is killed while it starts
FIRST_PAUSE = 0.5  # seconds before the second start; each pause is twice the one before


class WorkersBroken(RuntimeError):
    """Workers cannot start, or item after item fails: no fault of an item."""


@dataclass(frozen=True)
class Ended:
    """The end of an item in a slot. result: None when the worker died with it."""

    slot: int
    result: Result | None
    reason: str = ""  # of the death


class Pool(Protocol):
    """Workers that are started by `start` and end with `close`. A dead one is replaced."""

    slots: int

    def start(self) -> None:
        """Start all workers. Raises: WorkersBroken: when one cannot start."""

    def submit(self, slot: int, item: Item, attempts: Attempts) -> None:
        """Begin an item in a slot without one. Raises: WorkersBroken: as `start`.

        attempts: with this one.
        """

    def wait(self, seconds: float) -> list[Ended]:
        """Wait for an end for some seconds, and return all ends."""

    def kill(self, slot: int) -> None:
        """Kill the worker of a slot; `wait` returns its end."""

    def close(self) -> None:
        """End all workers at once."""


def await_start(death: Callable[[], str | None], start_again: Callable[[], None]) -> None:
    """Wait until a worker is ready. One that is killed before is started again, after a pause.

    death: waits for the worker; returns why it died, None if it is ready.
    Raises: WorkersBroken: when it was killed in each of `MOST_STARTS` starts.
    """
    pause = FIRST_PAUSE
    for _ in range(MOST_STARTS - 1):
        if death() is None:
            return
        time.sleep(pause)
        pause *= 2
        start_again()
    if (reason := death()) is not None:
        raise WorkersBroken(
            f"a worker died in each of {MOST_STARTS} starts, the last: {reason}; if its machine is "
            "short of memory, use fewer --workers"
        )
