"""ffmpeg and other child processes: one pipe, resource limits, their output in errors."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from jobs.sandbox.rlimits import NOT_EXECUTABLE, NOT_FOUND, limited_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QUIET = ("-nostdin", "-hide_banner", "-v", "error")
EXCERPT = 400  # characters of the first output, which names the cause, and of the last
ORIGIN = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )+")  # the part of ffmpeg that wrote a line
CHECK_SECONDS = 0.25  # between two checks of the deadline
PATHS = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # needed to find programs and libraries


class ChildError(RuntimeError):
    """A child process failed, was killed or cannot be started."""

    def __init__(self, output: str, *, status: int | None = None, stalled: bool = False) -> None:
        super().__init__(output)
        self.output = output
        self.status = status  # negative: ended by a signal
        self.stalled = stalled

    @property
    def not_started(self) -> bool:
        """True when the program is missing or cannot be executed on this machine."""
        return self.status in (NOT_EXECUTABLE, NOT_FOUND)


class FfmpegError(ChildError):
    """ffmpeg failed, was killed or cannot be started."""


def executable() -> str:
    """Return IMAGEIO_FFMPEG_EXE, the binary in the wheel `imageio-ffmpeg`, or the one on PATH.

    The wheel's own search runs the binary and caches a failure for the life of the process. This
    search runs nothing, so a binary that was killed once is found again.

    Raises: FfmpegError: when there is no ffmpeg.
    """
    if named := os.environ.get("IMAGEIO_FFMPEG_EXE"):
        return named
    spec = find_spec("imageio_ffmpeg")  # without an import
    folder = Path(spec.origin).parent / "binaries" if spec and spec.origin else None
    bundled = sorted(folder.glob("ffmpeg-*")) if folder else []
    if found := next((str(path) for path in bundled if os.access(path, os.X_OK)), None):
        return found
    if (found := shutil.which("ffmpeg")) is None:
        raise FfmpegError(
            "the wheel imageio-ffmpeg has no ffmpeg for this machine; install ffmpeg and set "
            "IMAGEIO_FFMPEG_EXE to its path",
            status=NOT_FOUND,
        )
    return found


class Child:
    """`with Child(command, patience=60) as child:`; the process is gone when the block ends.

    feed: True to write to its stdin, False to read its stdout. patience: seconds after which it is
    killed. Without `feed` they cover all of its work. With `feed` they cover each write and the end
    of the work; the time between writes does not count. rlimits: resource limits as in
    `jobs.sandbox.rlimits`, for untrusted files; the process then gets no other environment
    variables than paths. folder: its working directory, by default that of this process.
    """

    name = "the child process"
    error: type[ChildError] = ChildError

    def __init__(
        self,
        command: Sequence[str],
        *,
        patience: float,
        feed: bool = False,
        rlimits: Mapping[str, int] | None = None,
        folder: Path | None = None,
    ) -> None:
        command = list(command)
        self._command = command if rlimits is None else limited_command(command, rlimits)
        self._environment = None if rlimits is None else _minimal_environment()
        self._folder = folder
        self._feed = feed
        self._patience = patience
        self._stalled = False
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        # A file, because a second pipe would have to be read while the first one is busy.
        self._stderr = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE if self._feed else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if self._feed else subprocess.PIPE,
                stderr=self._stderr,
                env=self._environment,
                cwd=self._folder,
            )
        except OSError as error:
            self._stderr.close()
            text = f"{self._command[0]} cannot be started: {error.strerror}"
            raise self.error(text, status=NOT_FOUND) from error
        self._deadline = math.inf if self._feed else self._next_deadline()
        self._watch = threading.Thread(target=self._kill_after_deadline, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._process.kill()  # no effect on an ended process
        self._process.wait()
        self._watch.join()
        self._stderr.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                _close(pipe)

    @property
    def pipe(self) -> IO[bytes]:
        """The end of the pipe in this process."""
        pipe = self._process.stdin if self._feed else self._process.stdout
        assert pipe is not None
        return pipe

    def write(self, data: memoryview) -> None:
        """Write `data` to the child. Raises: ChildError: when it does not accept the data."""
        self._deadline = self._next_deadline()
        try:
            self.pipe.write(data)
        except OSError:  # the child has ended; `finish` raises the reason
            self.finish()
            raise self.error(f"{self.name} stopped reading before the end of the data") from None
        self._deadline = math.inf

    def finish(self) -> None:
        """Wait for the end. Raises: ChildError: with the output of the child, when it failed."""
        if self._feed:
            self._deadline = self._next_deadline()
            _close(self.pipe)
        status = self._process.wait()
        if self._stalled:
            raise self.error(f"no progress in {self.name} for {self._patience:g} s", stalled=True)
        if status != 0:
            raise self.error(
                self._output() or f"{self.name} exited with status {status}", status=status
            )

    def last_line(self) -> str:
        """Return the last line of the error output of a child that has ended."""
        return self._error_lines()[-1]

    def _next_deadline(self) -> float:
        return time.monotonic() + self._patience

    def _error_lines(self) -> list[str]:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").splitlines() or [""]

    def _output(self) -> str:
        text = "\n".join(ORIGIN.sub("", line) for line in self._error_lines()).strip()
        return text if len(text) <= 2 * EXCERPT else f"{text[:EXCERPT]} ... {text[-EXCERPT:]}"

    def _kill_after_deadline(self) -> None:
        while not self._ended.wait(CHECK_SECONDS):
            if time.monotonic() > self._deadline:
                self._stalled = True
                self._process.kill()
                return


class Ffmpeg(Child):
    """`with Ffmpeg(arguments, patience=60) as child:`; as `Child`."""

    name = "ffmpeg"
    error = FfmpegError

    def __init__(self, arguments: Sequence[str], *, patience: float, feed: bool = False) -> None:
        super().__init__([executable(), *QUIET, *arguments], patience=patience, feed=feed)


def _minimal_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PATHS if name in os.environ}


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:  # buffered data has no reader any more
        return
