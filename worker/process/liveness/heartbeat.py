"""Heartbeat of a worker: a file in its scratch folder, for probes that start no interpreter.

The file appears when the worker waits for jobs for the first time. A thread touches it, so it is
current as long as the interpreter runs threads, with or without broker and database. A job that
hangs is the task of the watchdog.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from worker.process.liveness.background_thread import BackgroundThread

if TYPE_CHECKING:
    from pathlib import Path

FILE = "heartbeat"
SECONDS = 5.0  # between two beats; docker/entry/worker-alive allows a minute


class Heartbeat(BackgroundThread):
    """Thread that touches the heartbeat file in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("heartbeat")
        self._file = folder / FILE

    def _run(self) -> None:
        while True:
            with suppress(OSError):  # a restart does not help against a full disk
                self._file.touch()
            if self._ended.wait(SECONDS):
                return
