"""An upload on its way in: counted while it streams, probed in a child, put into storage."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.routing import APIRoute

from api.errors import Problem
from api.schemas.generate import FORM, kind_of
from jobs.sandbox.audio_probe import MediaLimits, probe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from typing import BinaryIO

    from fastapi import Response
    from starlette.types import Receive, Scope

    from jobs.sandbox.audio_probe import ClipInfo
    from jobs.settings import Settings

FIELDS_BYTES = 64 * 1024  # what a body may hold beside its file
JSON_BYTES = 16 * 2**20  # JSON is taken whole into memory
RETRY_SECONDS = "2"
FOLDER = "visavis-upload-"
LEFT_SECONDS = 3600.0  # far longer than an upload is looked at and stored
PROBES = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))  # children at a time


T = TypeVar("T")


class Intake:
    """How many uploads are taken at a time, so that they fill neither the disk nor all threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: set[UploadRequest] = set()
        self._threads = CapacityLimiter(most)  # of their own: who reads a job waits for no upload

    def enter(self, upload: UploadRequest) -> None:
        """Take a place. 503 where all are taken."""
        if len(self._inside) >= self._most:
            raise Problem(
                503,
                "uploads_busy",
                f"All {self._most} places for uploads are taken just now; send it again.",
                headers={"Retry-After": RETRY_SECONDS, "Connection": "close"},
            )
        self._inside.add(upload)

    def leave(self, upload: UploadRequest) -> None:
        """Give the place back; harmless when that was done."""
        self._inside.discard(upload)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the blocking work of an upload in a thread."""
        return await to_thread.run_sync(work, limiter=self._threads)


class UploadRequest(Request):
    """A request whose body is a form with one file, or JSON, no larger than the settings allow."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        settings: Settings = self.app.state.services.settings
        self.intake: Intake = self.app.state.intake
        self._most = settings.max_upload_bytes
        self._seconds = settings.upload_seconds

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in chunks; 413 as soon as it is too long, whatever its header promised."""
        most = self._most if kind_of(self) == FORM else min(self._most, JSON_BYTES)
        told = self.headers.get("content-length", "")
        if told.isdecimal() and int(told) > most + FIELDS_BYTES:
            raise _too_large(most)
        self.intake.enter(self)
        received, chunks = 0, super().stream()
        until = asyncio.get_running_loop().time() + self._seconds
        while True:
            try:
                async with asyncio.timeout_at(until):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise too_slow(self._seconds) from None
            received += len(chunk)
            if received > most + FIELDS_BYTES:
                raise _too_large(most)
            yield chunk

    def leave(self) -> None:
        """The upload is dealt with: another may come, though this request may still wait."""
        self.intake.leave(self)

    def form(self, **_limits: Any) -> Any:
        """The form: one file, a few short fields."""
        return super().form(max_files=1, max_fields=32, max_part_size=4096)


class UploadRoute(APIRoute):
    """A route that reads its body as `UploadRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            upload = UploadRequest(request.scope, request.receive)
            try:
                return await handler(upload)
            finally:
                upload.leave()

        return handle


def sweep() -> None:
    """Remove what API processes left in the temporary folder that were killed with an upload in
    their hands."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):  # another process sweeps, too, or it is somebody else's
            if time.time() - folder.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kept(source: BinaryIO, *, most: int) -> Iterator[Path]:
    """What was sent, as a file under a name of ours, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        path = Path(folder) / "audio"
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
        if path.stat().st_size > most:
            raise _too_large(most)
        yield path


def inspected(path: Path, settings: Settings, *, max_seconds: float) -> ClipInfo:
    """What the clip is; MediaError where it is none, or too long."""
    limits = MediaLimits(max_seconds=max_seconds, wall_seconds=settings.probe_seconds)
    with PROBES:
        return probe(path, limits=limits)


def too_slow(seconds: float) -> Problem:
    """What did not arrive in time."""
    return Problem(
        408,
        "upload_too_slow",
        f"The upload has not arrived within {seconds:g} s; send a smaller format such as flac, "
        "mp3 or ogg.",
        headers={"Connection": "close"},
    )


def _too_large(most: int) -> Problem:
    return Problem(
        413,
        "upload_too_large",
        f"The upload is larger than {most} bytes; send a shorter clip, a smaller format such as "
        "flac, mp3 or ogg, or a form instead of JSON; or send it by POST /uploads.",
        headers={"Connection": "close"},
    )
