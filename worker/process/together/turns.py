"""Turns of the jobs of one worker at work that one of them does at a time."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT_SECONDS = 0.2  # between two reports of a job that waits


class Turns:
    """A lock that passes from job to job in the order in which they came."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def turn(self, report: Callable[[], None]) -> Iterator[None]:
        """Wait until all who came before have ended.

        report: called while this one waits; an exception from it ends the wait.
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            while not self._is_first(ticket):
                report()
            yield
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _is_first(self, ticket: object) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._queue[0] is ticket, WAIT_SECONDS)
