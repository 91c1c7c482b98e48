"""GET /jobs/{id}/events: server-sent events of a job until it has ended."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.background.job_watch import JobWatcher
from api.dependencies import JobWatcherDep, Services, ServicesDep
from api.middleware.auth import Caller, CallerDep
from api.problems import problems
from api.schemas.example import job_example
from api.schemas.jobs import JobView, read_job_view, status_of
from api.schemas.parameters import JobId
from api.services.conditional import version_of
from jobs.model import State
from jobs.store.job_rows import JobMissing

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/jobs", tags=["jobs"])

HEARTBEAT_SECONDS = 15.0  # proxies close streams that are silent for a minute
RECONNECT_MILLISECONDS = 1000
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
EVENT_ID = "succeeded-1-0f1e2d3c4b5a6978"
STREAM = {
    "schema": {
        "type": "string",
        "description": "Events, each with `event` (`job` or `deleted`), `id` (for `Last-Event-ID`) "
        "and `data`: a job, as JSON on one line.",
    },
    "example": f"retry: {RECONNECT_MILLISECONDS}\n\nevent: job\nid: {EVENT_ID}\n"
    f"data: {job_example(State.SUCCEEDED).model_dump_json()}\n\n",
}


class EventStream(StreamingResponse):
    """Stream of events, for a route that may also answer 204, unlike `EventSourceResponse`."""

    media_type = "text/event-stream"


@router.get(
    "/{job_id}/events",
    operation_id="stream_job_events",
    summary="Changes of one job, as server-sent events",
    description="""An event `job` contains the job as in GET /jobs/{id}: first its current state,
then every change. The stream ends after the final state. With `Last-Event-ID` it contains only what
is new since that event; 204 when the job has ended and nothing is new. An event `deleted` ends the
stream of a deleted job. Comments keep the connection alive.""",
    response_class=EventStream,
    responses=problems(
        "job_not_found",
        "invalid_request",
        "database_unavailable",
        success={
            200: {
                "description": "The events.",
                "content": {"text/event-stream": STREAM},
            },
            204: {"description": "The job has ended, and the caller has its final state."},
        },
    ),
)
async def events(
    job_id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    watch: JobWatcherDep,
    request: Request,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="`id` of the last received event.")
    ] = None,
) -> Response:
    view = await run_in_threadpool(read_job_view, job_id, caller.sees, services, request)
    if view.state.final and version_of(view, services.settings) == last_event_id:
        return Response(status_code=204)
    if request.method == "HEAD":
        return EventStream((), headers=UNBUFFERED)
    stream = _JobStream(view, caller, services, request, watch)
    return EventStream(stream.events(last_event_id), headers=UNBUFFERED)


class _JobStream:
    """Events of one job for one caller."""

    def __init__(
        self, view: JobView, caller: Caller, services: Services, request: Request, watch: JobWatcher
    ) -> None:
        self._view = view
        self._caller = caller
        self._services = services
        self._request = request
        self._watch = watch

    async def events(self, known: str | None) -> AsyncIterator[bytes]:
        """The encoded events. known: id of the last event that the caller received."""
        yield format_sse_event(retry=RECONNECT_MILLISECONDS)
        while True:
            version = version_of(self._view, self._services.settings)
            if version != known:
                known = version
                yield format_sse_event(
                    event="job", id=version, data_str=self._view.model_dump_json()
                )
            if self._view.state.final:
                return
            changed = await self._changed()
            if self._watch.closed:
                return
            if not changed:
                yield format_sse_event(comment="still here")
            elif not await self._read():
                yield format_sse_event(event="deleted", data_str=f'{{"id":"{self._view.id}"}}')
                return

    async def _changed(self) -> bool:
        status = status_of(self._view)
        return await self._watch.until(
            self._view.id, lambda now: now != status, seconds=HEARTBEAT_SECONDS
        )

    async def _read(self) -> bool:
        """Read the job again; False when it was deleted."""
        try:
            self._view = await run_in_threadpool(
                read_job_view, self._view.id, self._caller.sees, self._services, self._request
            )
        except JobMissing:
            return False
        except SQLAlchemyError as error:  # the last view stays valid until the next poll
            logger.warning("job not read", extra={"job": self._view.id, "reason": str(error)})
        return True
