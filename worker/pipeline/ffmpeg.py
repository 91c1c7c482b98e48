"""ffmpeg as a child on a short rope: an argument list, one pipe, its words in the error."""

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

from jobs.sandbox.rlimits import roped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QUIET = ("-nostdin", "-hide_banner", "-v", "error")
WORDS = 400  # of the first it said, where the cause stands, and of the last
WHERE = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )+")  # which part of ffmpeg spoke
LOOK_SECONDS = 0.25  # how often the watch looks at the clock
NEEDED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # what finds the program's own parts


class FfmpegError(RuntimeError):
    """ffmpeg did not do what it was asked to."""

    def __init__(self, words: str, *, status: int | None = None, stalled: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.status = status  # negative: ended by a signal
        self.stalled = stalled


def executable() -> str:
    """What IMAGEIO_FFMPEG_EXE names, the binary in the wheel `imageio-ffmpeg`, or that of PATH.

    The wheel's own search runs what it finds and keeps a failure for ever: one that was killed by
    chance, and the process would never find an ffmpeg again. So nothing is run here.
    """
    if named := os.environ.get("IMAGEIO_FFMPEG_EXE"):
        return named
    spec = find_spec("imageio_ffmpeg")  # found and not imported
    folder = Path(spec.origin).parent / "binaries" if spec and spec.origin else None
    bundled = sorted(folder.glob("ffmpeg-*")) if folder else []
    if found := next((str(path) for path in bundled if os.access(path, os.X_OK)), None):
        return found
    if (found := shutil.which("ffmpeg")) is None:
        raise FfmpegError(
            "no ffmpeg for this machine in the wheel imageio-ffmpeg; install ffmpeg and set "
            "IMAGEIO_FFMPEG_EXE to it"
        )
    return found


class Ffmpeg:
    """`with Ffmpeg(arguments, patience=60) as child:`; it is dead when the block ends.

    feed: whether we write to its stdin, else we read its stdout. patience: it is killed when all of
    its work takes longer than so many seconds; one that is fed, when it does not take what it is
    fed, or does not come to its end, for so long. Waiting for us never counts. rope: limits as in
    `jobs.sandbox.rlimits`, for one that reads a stranger's file; it sees no variable of our
    environment.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        patience: float,
        feed: bool = False,
        rope: Mapping[str, int] | None = None,
    ) -> None:
        command = [executable(), *QUIET, *arguments]
        self._command = command if rope is None else roped(command, rope)
        self._environment = None if rope is None else _plain_environment()
        self._feed = feed
        self._patience = patience
        self._stalled = False
        self._over = threading.Event()

    def __enter__(self) -> Self:
        # A file and no pipe: nobody has to read it while the other pipe is busy.
        self._said = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE if self._feed else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if self._feed else subprocess.PIPE,
                stderr=self._said,
                env=self._environment,
            )
        except OSError as error:
            self._said.close()
            raise FfmpegError(f"{self._command[0]} does not run: {error.strerror}") from error
        self._deadline = math.inf if self._feed else self._soon()
        self._watch = threading.Thread(target=self._kill_when_late, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._process.kill()  # harmless when it has ended
        self._process.wait()
        self._watch.join()
        self._said.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                _close(pipe)

    @property
    def pipe(self) -> IO[bytes]:
        """The end of the pipe that is ours."""
        pipe = self._process.stdin if self._feed else self._process.stdout
        assert pipe is not None
        return pipe

    def write(self, data: memoryview) -> None:
        """Hand over `data`. FfmpegError where it does not take it."""
        self._deadline = self._soon()
        try:
            self.pipe.write(data)
        except OSError:  # it has gone: `finish` knows why
            self.finish()
            raise FfmpegError("ffmpeg stopped reading before the end") from None
        self._deadline = math.inf

    def finish(self) -> None:
        """Wait for the end. FfmpegError with its words where that is not a good one."""
        if self._feed:
            self._deadline = self._soon()
            _close(self.pipe)
        status = self._process.wait()
        if self._stalled:
            raise FfmpegError(f"ffmpeg did nothing for {self._patience:g} s", stalled=True)
        if status != 0:
            raise FfmpegError(self._words() or f"ffmpeg ended with {status}", status=status)

    def _soon(self) -> float:
        return time.monotonic() + self._patience

    def _words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").splitlines()
        said = "\n".join(WHERE.sub("", line) for line in lines).strip()
        return said if len(said) <= 2 * WORDS else f"{said[:WORDS]} ... {said[-WORDS:]}"

    def _kill_when_late(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            if time.monotonic() > self._deadline:
                self._stalled = True
                self._process.kill()
                return


def _plain_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in NEEDED if name in os.environ}


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:  # what was not written yet finds no reader any more
        return
