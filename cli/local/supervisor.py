"""Supervisor of the child processes of `up`: restart them when they end, and stop them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.console import MISUSED
from cli.local.embedded_redis import PARENT_DEATH, PRIVATE_UMASK
from contracts.files import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import IO

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # before a child is restarted
STEADY_SECONDS = 10.0  # lifetime after which the pause starts at its minimum again
STOP_SECONDS = 20.0  # for a worker to hand its job back
PRIVATE_FILE = 0o600
UNFIT = (70, 71, 72)  # statuses of a worker that no restart has helped yet: its pauses grow
TAIL = 2000  # bytes of a log in error messages


class ChildError(RuntimeError):
    """A child does not start, and a restart would not help."""


@dataclass(frozen=True)
class Command:
    """A command of the supervisor."""

    name: str
    arguments: Sequence[str]  # of the Python interpreter
    environment: Mapping[str, str]
    log: Path | None  # None: the output of this process


class RestartPause:
    """Pause before a restart, twice as long each time."""

    def __init__(self) -> None:
        self._next = FIRST_PAUSE
        self._until = 0.0

    def over(self) -> bool:
        """Return whether the pause has passed."""
        return time.monotonic() >= self._until

    def begin(self) -> float:
        """Begin a pause; return its length."""
        pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE)
        self._until = time.monotonic() + pause
        return pause

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._next = FIRST_PAUSE


@dataclass
class Child:
    """A command and its process."""

    command: Command
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = field(default=0.0)  # time of the next start

    def start(self) -> None:
        """Start the process in a new session, which Ctrl-C does not reach."""
        parent_death = [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid())]
        log = self._open_log()
        try:
            self.process = subprocess.Popen(
                [*parent_death, sys.executable, *self.command.arguments],
                env={**os.environ, **self.command.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=PRIVATE_UMASK,
            )
        finally:
            if log:
                log.close()
        self.started_at = time.monotonic()

    def ended(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self.process.poll() if self.process else None

    def log_tail(self) -> str:
        """Return the end of the log, or nothing if the child has no log file."""
        log = self.command.log
        if log is None or not log.is_file():
            return ""
        return log.read_bytes()[-TAIL:].decode(errors="replace").strip()

    def _open_log(self) -> IO[bytes] | None:
        if self.command.log is None:
            return None
        private_folder(self.command.log.parent)
        self.command.log.touch(mode=PRIVATE_FILE)
        return self.command.log.open("ab")


class Supervisor:
    """Supervisor of commands: keeps them running while `tend` is called regularly."""

    def __init__(self, commands: Sequence[Command], log: Callable[[str], None]) -> None:
        self.children = [Child(command) for command in commands]
        self._log = log

    def start(self) -> None:
        """Start all commands."""
        for child in self.children:
            child.start()

    def tend(self) -> None:
        """Restart ended children. Raises: ChildError: when a restart would not help."""
        for child in self.children:
            self._tend(child, time.monotonic())

    def stop(self) -> None:
        """Terminate all children, wait, and kill those that do not end."""
        running = [child.process for child in self.children if child.process]
        for process in running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        for process in running:
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
            output = child.log_tail() or "see its output above"
            raise ChildError(f"the {child.command.name} does not start: {output}")
        if now - child.started_at > STEADY_SECONDS and status not in UNFIT:
            child.pause = FIRST_PAUSE
        self._log(f"the {child.command.name} {_ending(status)}; restarting it")
        child.process, child.due = None, now + child.pause
        child.pause = min(2 * child.pause, LONGEST_PAUSE)


def _ending(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
