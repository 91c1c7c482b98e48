"""Outputs that are read while their worker writes them, piece by piece, until they are complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from api.background.job_watch import KeyEnded
from jobs.storage.base import part_key
from jobs.storage.factory import ObjectMissing, StorageError
from jobs.store.job_rows import JobMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Send

    from api.background.job_watch import JobWatcher
    from api.dependencies import Services
    from api.middleware.auth import Caller
    from jobs.model import Job, JobStatus, Output

WAIT_SECONDS = 1.0  # longest time between two looks at the job


class StreamCut(Exception):
    """The file will not become complete: its job was canceled, failed or began again."""


@dataclass
class LiveOutput:
    """One live output for one caller."""

    job: Job
    output: Output
    services: Services
    watch: JobWatcher
    caller: Caller
    _status: JobStatus | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file from its start as it grows. Raises: StreamCut: when it ends early."""
        read = sent = 0
        while self.output.pieces is not None:
            while read < (self.output.pieces or 0):
                try:
                    async for chunk in self._opened(part_key(self.output.key, read + 1), 0):
                        sent += len(chunk)
                        yield chunk
                except ObjectMissing:  # the file is complete, and its pieces are removed
                    break
                read += 1
            await self._next()
        async for chunk in self._opened(self.output.key, sent):
            yield chunk

    async def _opened(self, key: str, start: int) -> AsyncIterator[bytes]:
        chunks = await run_in_threadpool(self.services.storage.open, key, start=start)
        async for chunk in iterate_in_threadpool(chunks):
            yield chunk

    async def _next(self) -> None:
        """Wait for progress of the job, and read it again. Raises: StreamCut."""
        try:
            await self.watch.until(
                self.job.id,
                self._has_changed,
                seconds=WAIT_SECONDS,
                key_id=self.caller.key_id,
            )
            self.job = await run_in_threadpool(
                self.services.database.jobs.get, self.job.id, tenant=self.caller.sees
            )
        except (KeyEnded, JobMissing) as error:
            raise StreamCut from error
        readable = (*self.job.complete, *self.job.live)
        same = [each for each in readable if each.key == self.output.key]
        if not same or self.watch.closed:
            raise StreamCut
        self.output = same[0]

    def _has_changed(self, status: JobStatus | None) -> bool:
        before, self._status = self._status, status
        return status is None or status != before


class LiveResponse(StreamingResponse):
    """Stream that is cut off, without its end, when the file will not become complete."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except (StreamCut, StorageError):
            return
