"""GET /jobs/{id}/events: a job as a stream of server-sent events, until it has ended."""

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
from api.errors import documented
from api.middleware.auth import Caller, CallerDep
from api.routes.jobs import MISSING, NO_DATABASE, NO_ID, JobId, seen
from api.schemas.jobs import JobView, status_of
from api.services.conditional import version_of
from jobs.store.job_rows import JobMissing

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/jobs", tags=["jobs"])

HEARTBEAT_SECONDS = 15.0  # proxies take a stream that is silent for a minute for dead
RECONNECT_MILLISECONDS = 1000
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# One event, as OpenAPI 3.2 describes a stream by what comes in it.
EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["job", "deleted"]},
        "id": {"type": "string", "description": "For `Last-Event-ID`."},
        "data": {"type": "string", "description": "A job, as JSON."},
    },
}


class EventStream(StreamingResponse):
    """Not FastAPI's `EventSourceResponse`: that one cannot answer 204."""

    media_type = "text/event-stream"


@router.get(
    "/{job_id}/events",
    summary="One job as it goes on, as server-sent events",
    description="""An event `job` carries the job as GET /jobs/{id} answers it, at first as it
stands and then at every change. The stream ends after the final state. Whoever comes again with
`Last-Event-ID` is told what is new since; 204 when that is nothing and nothing will come. An event
`deleted` ends the stream of a job that was deleted. A comment keeps the connection alive.""",
    response_class=EventStream,
    responses=documented(
        MISSING,
        NO_ID,
        NO_DATABASE,
        success={
            200: {
                "description": "The events.",
                "content": {"text/event-stream": {"schema": EVENT}},
            },
            204: {"description": "The job has ended, and the caller knows how."},
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
        str | None, Header(description="`id` of the last event that was received.")
    ] = None,
) -> Response:
    view = await run_in_threadpool(seen, job_id, caller, services, request)
    if view.state.final and version_of(view, services.settings) == last_event_id:
        return Response(status_code=204)
    follower = _Follower(view, caller, services, request, watch)
    return EventStream(follower.events(last_event_id), headers=UNBUFFERED)


class _Follower:
    """One caller who follows one job."""

    def __init__(
        self, view: JobView, caller: Caller, services: Services, request: Request, watch: JobWatcher
    ) -> None:
        self._view = view
        self._caller = caller
        self._services = services
        self._request = request
        self._watch = watch

    async def events(self, known: str | None) -> AsyncIterator[bytes]:
        """The stream; `known` is the id of what the caller has."""
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
        """Read the job again; False when it is gone."""
        try:
            self._view = await run_in_threadpool(
                seen, self._view.id, self._caller, self._services, self._request
            )
        except JobMissing:
            return False
        except SQLAlchemyError as error:  # the caller has what there was; the next look comes soon
            logger.warning("job not read", extra={"job": self._view.id, "reason": str(error)})
        return True
