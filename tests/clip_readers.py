"""Clips read in this process instead of a child process, which takes 0.2 CPU seconds.

Without the limits of the child: for tests that are not about them.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import pytest

from jobs.sandbox.audio_formats import MediaError, MediaLimits
from jobs.sandbox.audio_probe import ClipInfo, inspect_clip, write_audio


def read_in_process(patch: pytest.MonkeyPatch) -> None:
    """Replace the child processes of `probe` and `decode`."""
    patch.setattr("jobs.sandbox.audio_probe._output", probe_output)
    patch.setattr("worker.pipeline.media.decode.Child", Reader)


def probe_in_process(patch: pytest.MonkeyPatch) -> None:
    """Replace the child process of `probe`; for tests without numpy."""
    patch.setattr("jobs.sandbox.audio_probe._output", probe_output)


def probe_output(command: Sequence[str], *, timeout: float) -> bytes:
    """Return what the child of `probe` prints."""
    limits, path = command[command.index("probe") + 1 :]
    return _result(lambda: inspect_clip(Path(path), MediaLimits(**json.loads(limits)))).encode()


class Reader:
    """Stand-in for the child of `decode`: its audio and its last line."""

    def __init__(self, command: Sequence[str], **_limits: object) -> None:
        self._limits, *self._paths = command[command.index("read") + 1 :]
        self.pipe = io.BytesIO()

    def __enter__(self) -> Self:
        path, partner, *_ = [*map(Path, self._paths), None]
        limits = MediaLimits(**json.loads(self._limits))
        assert path is not None
        self._line = _result(lambda: write_audio(path, limits, self.pipe, partner=partner))
        self.pipe.seek(0)
        return self

    def __exit__(self, *_error: object) -> None:
        self.pipe.close()

    def finish(self) -> None:
        """Do nothing: the clip has been read."""

    def last_line(self) -> str:
        return self._line


def _result(read: Callable[[], ClipInfo]) -> str:
    try:
        return json.dumps(asdict(read()))
    except MediaError as error:
        return json.dumps({"code": error.code, "detail": error.detail})
