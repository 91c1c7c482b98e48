"""API server on a free port of loopback, and person directories for it."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.bounds.connection import BoundedConnection
from api.dependencies import Services
from jobs.settings import Settings
from tests.new_database import create_database

START_SECONDS = 20.0
STOP_SECONDS = 60.0
GRACE_SECONDS = 5


@dataclass(frozen=True)
class Served:
    """HTTP client and application of a running API."""

    http: httpx.Client
    app: FastAPI

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services


def write_person(
    folder: Path,
    name: str = "demo",
    *,
    max_seconds: float = 5.0,
    cameras: Sequence[str] = ("front", "side", "back"),
    views: Sequence[str] | None = None,
) -> Path:
    """Write the files of a person directory that the API reads. views: default views."""
    manifest = {
        "schema": 1,
        "name": name,
        "title": f"{name.title()} person",
        "licence": "CC0-1.0",
        "limits": {"max_seconds": max_seconds},
        "defaults": {
            "steps": 50,
            "guidance_face": 1.5,
            "guidance_body": 1.5,
            "diversity": 0.97,
            "size": "512x512",
        }
        | ({} if views is None else {"views": list(views)}),
        "files": {},
    }
    (folder / name).mkdir(parents=True)
    (folder / name / "person.json").write_text(json.dumps(manifest))
    named = {"cameras": [{"name": camera} for camera in cameras]}
    (folder / name / "cameras.json").write_text(json.dumps(named))
    return folder


@contextmanager
def serving(
    settings: Settings, proxy: Callable[[FastAPI], Any] = lambda app: app
) -> Iterator[Served]:
    """Run the API in a thread. proxy: wraps the application as a proxy in front of it would."""
    create_database(settings.database_url)
    app = create_app(settings)
    config = uvicorn.Config(
        proxy(app),
        host="127.0.0.1",
        port=0,
        log_config=None,
        http=BoundedConnection,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,  # a failed test may leave a stream open
    )
    server = uvicorn.Server(config)
    started = threading.Event()
    thread = threading.Thread(target=_run, args=(server, started), daemon=True)
    thread.start()
    try:
        assert started.wait(START_SECONDS), "the API did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=False) as client:
            yield Served(client, app)
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)
        assert not thread.is_alive(), "the API did not stop"


def _run(server: uvicorn.Server, started: threading.Event) -> None:
    original = server.startup

    async def startup(sockets: list[object] | None = None) -> None:
        await original(sockets)
        started.set()

    server.startup = startup
    server.run()


def answer_while_dripping(connection: socket.socket, pieces: Iterable[bytes]) -> bytes:
    """Send pieces slowly until the server answers; return the start of the answer."""
    ended = threading.Event()

    def drip() -> None:
        for piece in pieces:
            if ended.wait(0.02):
                return
            try:
                connection.sendall(piece)
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        return connection.recv(4096)
    finally:
        ended.set()
        thread.join()
