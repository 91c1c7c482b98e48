"""A daemon thread that runs for as long as a `with` block."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextvars import copy_context
from typing import Self


class BackgroundThread(ABC):
    """Runs `_run` in a thread from the start of the `with` block to its end."""

    def __init__(self, name: str) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._start, name=name, daemon=True)
        self._context = copy_context()

    def __enter__(self) -> Self:
        self._context = copy_context()  # log lines of the thread have the ids of its job
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _start(self) -> None:
        self._context.run(self._run)

    @abstractmethod
    def _run(self) -> None:
        """Work until `_ended` is set."""
