"""Pieces of a file that grows: each is handed on once, soon at first and then less often."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST_SECONDS = 0.25  # between the first pieces
GROWTH = 1.1  # of the time between two pieces
LONGEST_SECONDS = 4.0
CHUNK = 1 << 20


class LiveFile:
    """A file that another process writes; its bytes do not change once they are written."""

    def __init__(
        self,
        path: Path,
        publish: Callable[[Path, int, int], None],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """publish: called with a file of the next bytes, its number from 1, and the size so far."""
        self._path, self._publish, self._now = path, publish, now
        self.pieces = 0
        self._bytes = 0
        self._pause = FIRST_SECONDS
        self._next = -1.0

    def follow(self) -> None:
        """Publish a piece if there are new bytes and it is time."""
        now = self._now()
        if now < self._next or not self._path.is_file():
            return
        size = self._path.stat().st_size
        if size == self._bytes:
            return
        piece = self._path.with_name(f"{self._path.name}.piece")
        _copy(self._path, piece, self._bytes, size)
        self.pieces, self._bytes = self.pieces + 1, size
        self._publish(piece, self.pieces, size)
        piece.unlink()
        self._next = now + self._pause
        self._pause = min(LONGEST_SECONDS, self._pause * GROWTH)


def _copy(source: Path, target: Path, start: int, stop: int) -> None:
    with source.open("rb") as file, target.open("wb") as piece:
        file.seek(start)
        while chunk := file.read(min(CHUNK, stop - file.tell())):
            piece.write(chunk)
