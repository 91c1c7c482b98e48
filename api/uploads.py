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
from jobs.media import MediaLimits, probe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

    from fastapi import Response, UploadFile
    from starlette.types import Receive, Scope

    from jobs.media import ClipInfo
    from jobs.people import PersonSummary
    from jobs.settings import Settings

FIELDS_BYTES = 64 * 1024  # what a form may hold beside its file
RETRY_SECONDS = "2"
PREFIX = "visavis-upload-"
LEFT_SECONDS = 3600
PROBES = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))  # children at a time


T = TypeVar("T")


class Uploads:
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
    """A request whose body is one form with one file, no larger than the settings allow."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        settings: Settings = self.app.state.services.settings
        self.uploads: Uploads = self.app.state.uploads
        self._most = settings.max_upload_bytes
        self._seconds = settings.upload_seconds

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in chunks; 413 as soon as it is too long, whatever its header promised."""
        self.uploads.enter(self)
        received, chunks = 0, super().stream()
        until = asyncio.get_running_loop().time() + self._seconds
        while True:
            try:
                async with asyncio.timeout_at(until):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise _too_slow(self._seconds) from None
            received += len(chunk)
            if received > self._most + FIELDS_BYTES:
                raise _too_large(self._most)
            yield chunk

    def leave(self) -> None:
        """The upload is dealt with: another may come, though this request may still wait."""
        self.uploads.leave(self)

    def form(self, **_limits: Any) -> Any:
        """The form: one file, a few short fields."""
        kind = self.headers.get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            raise Problem(
                415,
                "body_type_unsupported",
                f"The body is {kind or 'of no type'}; send multipart/form-data with the file "
                "in the field `audio`.",
            )
        told = self.headers.get("content-length", "")
        if told.isdecimal() and int(told) > self._most + FIELDS_BYTES:
            raise _too_large(self._most)
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


def sweep_uploads() -> None:
    """Remove what an API that was killed has left; an upload that lives is minutes old at most."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another one's
            if time.time() - folder.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(folder)


@contextmanager
def kept(upload: UploadFile, *, most: int) -> Iterator[Path]:
    """The upload as a file under a name of ours, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        path = Path(folder) / "audio"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        if path.stat().st_size > most:
            raise _too_large(most)
        yield path


def inspected(path: Path, person: PersonSummary, settings: Settings) -> ClipInfo:
    """What the clip is; MediaError where it is none, or too long for the person."""
    limits = MediaLimits(
        max_seconds=min(person.max_seconds, settings.max_clip_seconds),
        wall_seconds=settings.probe_seconds,
    )
    with PROBES:
        return probe(path, limits=limits)


def _too_slow(seconds: float) -> Problem:
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
        f"The upload is larger than {most} bytes; send a shorter clip, or a smaller format "
        "such as flac, mp3 or ogg.",
        headers={"Connection": "close"},
    )
