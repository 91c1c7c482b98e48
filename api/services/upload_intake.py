"""Receive uploads: count bytes while they stream, limit concurrency, probe in a child process."""

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

from api.problems import Problem
from api.schemas.generate import FORM, kind_of
from jobs.sandbox.audio_formats import MediaLimits
from jobs.sandbox.audio_probe import probe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from typing import BinaryIO

    from fastapi import Response
    from starlette.types import Receive, Scope

    from jobs.sandbox.audio_probe import ClipInfo
    from jobs.settings import Settings

FIELDS_BYTES = 64 * 1024  # of a body beside its file
JSON_BYTES = 16 * 2**20  # JSON bodies are held in memory as a whole
FORM_FILES, FORM_FIELDS = 8, 32  # limits of a form; more files than it has fields for are refused
RETRY_SECONDS = "2"
FOLDER = "visavis-upload-"
LEFTOVER_SECONDS = 3600.0  # far more than probing and storing an upload takes
PROBES = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))  # child processes at a time


T = TypeVar("T")


class UploadIntake:
    """Limit of concurrent uploads, so that they fill neither the disk nor all threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: set[UploadRequest] = set()
        self._threads = CapacityLimiter(most)  # other requests use other threads and do not wait

    def enter(self, upload: UploadRequest) -> None:
        """Take a slot.

        Raises:
            Problem: when all slots are in use.
        """
        if len(self._inside) >= self._most:
            raise Problem(
                "uploads_busy",
                f"All {self._most} upload slots are in use; send the request again.",
                headers={"Retry-After": RETRY_SECONDS, "Connection": "close"},
            )
        self._inside.add(upload)

    def leave(self, upload: UploadRequest) -> None:
        """Release the slot; calling it twice is harmless."""
        self._inside.discard(upload)

    async def run(self, work: Callable[[], T]) -> T:
        """Run the blocking work of an upload in a thread."""
        return await to_thread.run_sync(work, limiter=self._threads)


class UploadRequest(Request):
    """A request whose body is a form with files, or JSON, no larger than the settings allow."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        settings: Settings = self.app.state.services.settings
        self.intake: UploadIntake = self.app.state.intake
        self._most = settings.max_upload_bytes
        self._seconds = settings.upload_seconds

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in chunks.

        Raises:
            Problem: when it is too large (its actual length counts, not its header) or too slow.
        """
        most = self._most if kind_of(self) == FORM else min(self._most, JSON_BYTES)
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most + FIELDS_BYTES:
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
        """Release the slot; the request itself may go on waiting for its job."""
        self.intake.leave(self)

    def form(self, **_limits: Any) -> Any:
        """The form, limited to a few files and short fields."""
        return super().form(max_files=FORM_FILES, max_fields=FORM_FIELDS, max_part_size=4096)


class UploadRoute(APIRoute):
    """A route whose request is an `UploadRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            upload = UploadRequest(request.scope, request.receive)
            try:
                return await handler(upload)
            finally:
                upload.leave()

        return handle


def remove_leftovers() -> None:
    """Remove temporary folders of API processes that were killed during an upload."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):  # another process removed it, or another user owns it
            if time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def saved(source: BinaryIO, *, most: int) -> Iterator[Path]:
    """Save an upload to a temporary file, which is removed when the block ends.

    Raises:
        Problem: when it is larger than `most` bytes.
    """
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        path = Path(folder) / "audio"
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
        if path.stat().st_size > most:
            raise _too_large(most)
        yield path


def probed(path: Path, settings: Settings, *, max_seconds: float) -> ClipInfo:
    """Probe the clip in a child process.

    Raises:
        MediaError: when it is not a supported clip, or too long.
    """
    limits = MediaLimits(max_seconds=max_seconds, wall_seconds=settings.probe_seconds)
    with PROBES:
        return probe(path, limits=limits)


def too_slow(seconds: float) -> Problem:
    """408: the upload did not arrive in time."""
    return Problem(
        "upload_too_slow",
        f"The upload did not arrive within {seconds:g} s; send a smaller format such as flac, mp3 "
        "or ogg.",
        headers={"Connection": "close"},
    )


def _too_large(most: int) -> Problem:
    return Problem(
        "upload_too_large",
        f"The upload is larger than {most} bytes; send a shorter clip, a smaller format such as "
        "flac, mp3 or ogg, or a form instead of JSON; or send it by POST /uploads.",
        headers={"Connection": "close"},
    )
