"""Processes that are forked from one that has imported the product, so none waits for torch.

They differ from real processes by their start alone: each has its own process id, session,
environment and log, and signals and exit statuses are those of the operating system.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

IMPORTED = ("alembic.command", "api.app", "av", "celery", "cli.main", "torch", "uvicorn", "warp")
IMPORTED += ("models.avatar.blendshape.warp_painter", "worker.process.worker_loop")


class Forked:
    """Running script, with the interface of `subprocess.Popen`.

    arguments: a file and its arguments. log: file to which stdout and stderr are appended.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        given = (list(arguments), dict(environment), str(log))
        self._process = _server().Process(target=_run, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _server() -> ForkServerContext:
    """Return the context of the one process that imports; it starts with the first fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def stop_server() -> None:
    """End the process that imports; its CPU time then counts as that of the tests."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def _run(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Run a script as the main program of this process, which dies with the tests."""
    threading.Thread(target=_die_with_the_tests, daemon=True).start()
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(output, descriptor)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # read the environment again
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def _die_with_the_tests() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
