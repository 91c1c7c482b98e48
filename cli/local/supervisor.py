"""Children of `up`: they die with us, are started again when they die, and end in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.console import MISUSED
from cli.local.embedded_redis import TETHER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import IO

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # before a child is started again
STEADY_SECONDS = 30.0  # one that lived so long is started at once again
STOP_SECONDS = 20.0  # for a worker to hand its job back
TAIL = 2000


class ChildError(RuntimeError):
    """A child that will not run, however often it is started."""


@dataclass(frozen=True)
class Command:
    """A command to keep running."""

    name: str
    arguments: Sequence[str]  # of this Python
    environment: Mapping[str, str]
    log: Path | None  # None: it writes where we write


@dataclass
class Child:
    """One of them, and what became of it."""

    command: Command
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = field(default=0.0)  # when it is to be started again

    def start(self) -> None:
        """Start it on a tether; in a session of its own, so that Ctrl-C is for us."""
        tether = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid())]
        log = self._open_log()
        try:
            self.process = subprocess.Popen(
                [*tether, sys.executable, *self.command.arguments],
                env={**os.environ, **self.command.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            if log:
                log.close()
        self.started_at = time.monotonic()

    def ended(self) -> int | None:
        """The exit status, None while it lives."""
        return self.process.poll() if self.process else None

    def last_words(self) -> str:
        """The end of its log; nothing where it has none of its own."""
        log = self.command.log
        if log is None or not log.is_file():
            return ""
        return log.read_bytes()[-TAIL:].decode(errors="replace").strip()

    def _open_log(self) -> IO[bytes] | None:
        if self.command.log is None:
            return None
        self.command.log.parent.mkdir(parents=True, exist_ok=True)
        return self.command.log.open("ab")


class Supervisor:
    """Keeps commands running for as long as `tend` is called every now and then."""

    def __init__(self, commands: Sequence[Command], say: Callable[[str], None]) -> None:
        self.children = [Child(command) for command in commands]
        self._say = say

    def start(self) -> None:
        """Start them all."""
        for child in self.children:
            child.start()

    def tend(self) -> None:
        """Start again what has died. ChildError where that would change nothing."""
        for child in self.children:
            self._tend(child, time.monotonic())

    def stop(self) -> None:
        """Ask all of them to leave, wait, and kill what does not."""
        alive = [child.process for child in self.children if child.process]
        for process in alive:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        for process in alive:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _tend(self, child: Child, now: float) -> None:
        if child.process is None:
            if now >= child.due:
                child.start()
            return
        status = child.ended()
        if status is None:
            return
        if status == MISUSED:
            words = child.last_words() or "its words stand above"
            raise ChildError(f"the {child.command.name} does not start: {words}")
        if now - child.started_at > STEADY_SECONDS:
            child.pause = FIRST_PAUSE
        self._say(f"the {child.command.name} {_ending(status)}; it is started again")
        child.process, child.due = None, now + child.pause
        child.pause = min(2 * child.pause, LONGEST_PAUSE)


def _ending(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
