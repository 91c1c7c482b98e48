"""GET /jobs/{id}/events: server-sent events of a job until it has ended."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from sqlalchemy.exc import SQLAlchemyError

from api.background.job_watch import JobWatcher, KeyEnded
from api.bounds.declare import Bounds, Pool, bounded
from api.bounds.request import BoundedRoute
from api.dependencies import JobWatcherDep, Services, ServicesDep
from api.middleware.auth import Caller, CallerDep
from api.problems import problems
from api.schemas.example import job_example
from api.schemas.jobs import JobView, read_job_view, status_of
from api.schemas.parameters import JobId
from api.services.conditional import version_of
from jobs.model import State
from jobs.store.job_rows import JobMissing
from jobs.telemetry import outages

if TYPE_CHECKING:
    from api.services.shared_reads import SharedReads

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BoundedRoute)

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
@bounded(Bounds(pool=Pool.WAITS))
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
    stream = _JobStream(job_id, caller, services, request, watch)
    first = await stream.read()
    if first.view.state.final and first.version == last_event_id:
        return Response(status_code=204)
    if request.method == "HEAD":
        return EventStream((), headers=UNBUFFERED)
    return EventStream(stream.events(first, last_event_id), headers=UNBUFFERED)


@dataclass(frozen=True)
class _Snapshot:
    """A view with its version and its event, made once for all streams of the job."""

    view: JobView
    version: str
    event: bytes


class _JobStream:
    """Events of one job for one caller."""

    def __init__(
        self, job_id: str, caller: Caller, services: Services, request: Request, watch: JobWatcher
    ) -> None:
        self._job_id = job_id
        self._caller = caller
        self._services = services
        self._request = request
        self._watch = watch
        self._reads: SharedReads[_Snapshot] = request.app.state.shared_reads

    async def events(self, now: _Snapshot, known: str | None) -> AsyncIterator[bytes]:
        """The encoded events. known: id of the last event that the caller received."""
        yield format_sse_event(retry=RECONNECT_MILLISECONDS)
        while True:
            if now.version != known:
                known = now.version
                yield now.event
            if now.view.state.final:
                return
            try:
                changed = await self._changed(now.view)
            except KeyEnded:  # a client that connects again is refused
                return
            if self._watch.closed:
                return
            if not changed:
                yield format_sse_event(comment="still here")
                continue
            try:
                now = await self.read()
            except JobMissing:
                yield format_sse_event(event="deleted", data_str=f'{{"id":"{self._job_id}"}}')
                return
            except SQLAlchemyError as error:  # the last view stays valid until the next poll
                outages.report(error, "job not read")

    async def read(self) -> _Snapshot:
        """Read the job, together with other streams of it. Raises: JobMissing."""
        base = str(self._request.base_url)  # links of the view start with it
        return await self._reads.of((self._job_id, self._caller.sees, base), self._read)

    async def _changed(self, view: JobView) -> bool:
        status = status_of(view)
        return await self._watch.until(
            self._job_id,
            lambda now: now != status,
            seconds=HEARTBEAT_SECONDS,
            key_id=self._caller.key_id,
        )

    def _read(self) -> _Snapshot:
        view = read_job_view(self._job_id, self._caller.sees, self._services, self._request)
        version = version_of(view, self._services.settings)
        event = format_sse_event(event="job", id=version, data_str=view.model_dump_json())
        return _Snapshot(view, version, event)
