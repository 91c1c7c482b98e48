"""Interface of pools: workers in slots, each with one item at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from worker.bulk.manifest import Item
    from worker.bulk.results import Result


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

    def submit(self, slot: int, item: Item, attempt: int) -> None:
        """Begin an item in a slot without one. Raises: WorkersBroken: as `start`."""

    def wait(self, seconds: float) -> list[Ended]:
        """Wait for an end for some seconds, and return all ends."""

    def kill(self, slot: int) -> None:
        """Kill the worker of a slot; `wait` returns its end."""

    def close(self) -> None:
        """End all workers at once."""
