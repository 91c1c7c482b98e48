"""/jobs: list and read jobs, cancel, retry and delete them, download outputs."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.bounds.declare import Bounds, Pool, bounded
from api.bounds.request import BoundedRequest, BoundedRoute
from api.dependencies import JobWatcherDep, Services, ServicesDep
from api.middleware.auth import CallerDep, require_scope
from api.problems import Problem, problems
from api.schemas.job_query import ListQuery
from api.schemas.jobs import (
    JobList,
    JobView,
    download_name,
    job_list,
    job_view,
    read_job_view,
)
from api.schemas.parameters import PREFERENCE_APPLIED, RETRY_LATER, RETRY_SECONDS, TAGGED, JobId
from api.services.conditional import (
    IfNoneMatch,
    Prefer,
    entity_tag,
    has_changed,
    known_status,
    matches,
    seconds_to_wait,
)
from api.services.downloads import FILE_RESPONSES, Download, outputs_expired
from api.services.live_outputs import LiveOutput, LiveResponse
from jobs.maintenance.reaper import remove_objects
from jobs.model import Job, Output, State
from jobs.queue.celery_app import wake
from jobs.storage.factory import LocalStorage
from jobs.store.api_keys import Scope
from jobs.store.pagination import CursorError

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BoundedRoute)


@router.get(
    "",
    operation_id="list_jobs",
    response_description="A page of jobs.",
    summary="Jobs, newest first",
    responses=problems("invalid_request", "database_unavailable"),
)
def list_jobs(
    services: ServicesDep,
    caller: CallerDep,
    request: Request,
    query: Annotated[ListQuery, Query()],
) -> JobList:
    if query.tenant not in (None, caller.tenant):
        require_scope(caller, Scope.ADMIN)
    jobs = query.job_filter(caller.sees)
    try:
        page = services.database.jobs.page(jobs, limit=query.limit, cursor=query.cursor)
    except CursorError as error:
        detail = f"invalid cursor {query.cursor!r}; pass `next` from a previous page unchanged"
        fields = [{"field": "cursor", "detail": detail}]
        raise Problem("invalid_request", f"cursor: {detail}.", errors=fields) from error
    return job_list(page, services, request)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    response_description="The job.",
    response_model=JobView,
    summary="One job: state, stage, progress, position in the queue, outputs",
    description="""With `Prefer: wait=N` the response is sent when the state or attempt of the job
differs from that of `If-None-Match` (without it: from the current one), and after N seconds at the
latest. For a job that has ended it is sent at once.""",
    responses=problems(
        "job_not_found",
        "invalid_request",
        "database_unavailable",
        success={
            200: {"headers": TAGGED | RETRY_LATER | PREFERENCE_APPLIED},
            304: {
                "description": "Nothing has changed.",
                "headers": TAGGED | RETRY_LATER | PREFERENCE_APPLIED,
            },
        },
    ),
)
async def read_job(
    job_id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    watch: JobWatcherDep,
    request: BoundedRequest,
    prefer: Prefer = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    async with request.thread_place():
        view = await run_in_threadpool(read_job_view, job_id, caller.sees, services, request)
    headers = {"Vary": "Prefer"}
    if seconds := seconds_to_wait(prefer):
        headers["Preference-Applied"] = f"wait={seconds}"
        known = known_status(if_none_match, (view.state, view.attempt))
        if known == (view.state, view.attempt) and not view.state.final:
            request.holding.take(Pool.WAITS)
            changed = partial(has_changed, known=known)
            await watch.until(job_id, changed, seconds=seconds, key_id=caller.key_id)
            async with request.thread_place():
                view = await run_in_threadpool(
                    read_job_view, job_id, caller.sees, services, request
                )
    if not view.state.final:
        headers["Retry-After"] = RETRY_SECONDS
    headers["ETag"] = entity_tag(view, services.settings)
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    # A Response, because FastAPI would validate and serialise the view a second time.
    return Response(view.model_dump_json(), headers=headers, media_type="application/json")


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    response_description="The job is canceled.",
    summary="Cancel a job that is queued or running",
    description="""The job is canceled when the response is sent; the worker of a running job stops
within one denoising step or one batch of frames. Canceling a canceled job changes nothing.""",
    responses=problems("job_not_found", "job_has_ended", "invalid_request", "database_unavailable"),
)
@bounded(Bounds())
def cancel(job_id: JobId, services: ServicesDep, caller: CallerDep, request: Request) -> JobView:
    canceled = services.database.jobs.cancel(job_id, tenant=caller.sees)
    job = services.database.jobs.get(job_id, tenant=caller.sees)
    if not canceled and job.state is not State.CANCELED:
        detail = f"The job has {job.state}; only queued or running jobs can be canceled."
        raise Problem("job_has_ended", detail)
    return job_view(job, services, request)


@router.post(
    "/{job_id}/retry",
    operation_id="retry_job",
    status_code=202,
    summary="Run a failed or canceled job again",
    description="""It is the same job: it returns to its old place in the queue, keeps its motion,
and has as many attempts as a new job.""",
    responses=problems(
        "job_not_found",
        "job_not_retryable",
        "input_expired",
        "quota_jobs",
        "invalid_request",
        "database_unavailable",
        success={202: {"description": "Queued again.", "headers": RETRY_LATER}},
    ),
)
@bounded(Bounds())
def retry(
    job_id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    request: Request,
    response: Response,
) -> JobView:
    retried = services.database.jobs.retry(job_id, tenant=caller.sees)
    job = services.database.jobs.get(job_id, tenant=caller.sees)
    if not retried and job.input_expired_at is not None:
        day = f"{job.input_expired_at:%Y-%m-%d}"
        detail = f"The recording was kept until {day}; send it again as a new job."
        raise Problem("input_expired", detail)
    if not retried:
        detail = f"The job is {job.state}; only failed or canceled jobs can be retried."
        raise Problem("job_not_retryable", detail)
    wake(services.queue, job_id)
    response.headers["Retry-After"] = RETRY_SECONDS
    return job_view(job, services, request)


@router.delete(
    "/{job_id}",
    operation_id="delete_job",
    response_description="Deleted.",
    status_code=204,
    summary="Delete a job and its files",
    description="""The job and its files are deleted when the response is sent. While the storage is
unavailable, the files are deleted later. A running job is stopped as by `cancel`.""",
    responses=problems("job_not_found", "invalid_request", "database_unavailable"),
)
@bounded(Bounds())
def delete(job_id: JobId, services: ServicesDep, caller: CallerDep) -> None:
    deletion = services.database.jobs.delete(job_id, tenant=caller.sees)
    remove_objects(services.database, services.storage, deletion)


@router.get(
    "/{job_id}/outputs/{name}",
    operation_id="download_output",
    summary="One output file of the job",
    description="""An output in `live` of a running job is sent as it grows, without a length, until
it is complete. When the job fails, is canceled or begins again, the response is cut off.""",
    response_class=FileResponse,
    responses=problems(
        "job_not_found",
        "output_not_found",
        "file_not_found",
        "job_not_finished",
        "job_without_outputs",
        "output_expired",
        "range_not_satisfiable",
        "invalid_request",
        "storage_unavailable",
        "database_unavailable",
        success={
            **FILE_RESPONSES,
            307: {
                "description": "Redirect to the file in its bucket.",
                "headers": {
                    "Location": {
                        "description": "Signed link to the file.",
                        "schema": {"type": "string"},
                    }
                },
            },
        },
    ),
)
@bounded(Bounds(pool=Pool.DOWNLOADS))
async def read_output(
    job_id: JobId,
    name: Annotated[str, Path(description="From the job's `outputs`.", max_length=64)],
    services: ServicesDep,
    caller: CallerDep,
    watch: JobWatcherDep,
    request: BoundedRequest,
) -> Response:
    job = await run_in_threadpool(services.database.jobs.get, job_id, tenant=caller.sees)
    output = _find_output(job, name)
    if output.pieces is None:
        return await run_in_threadpool(_download, job, output, services)
    request.holding.take(Pool.WAITS)  # instead of a place for a download: it may take as long
    request.holding.release(Pool.DOWNLOADS)
    live = LiveOutput(job, output, services, watch, caller)
    chunks = live.chunks() if request.method == "GET" else ()
    headers = {"Accept-Ranges": "none", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return LiveResponse(chunks, media_type=output.content_type, headers=headers)


def _find_output(job: Job, name: str) -> Output:
    if job.outputs_expired_at is not None:
        raise outputs_expired(job)
    for each in (*job.complete, *job.live):
        if each.name == name:
            return each
    if job.state is not State.SUCCEEDED:
        code = "job_without_outputs" if job.state.final else "job_not_finished"
        detail = (
            f"The job is {job.state}; before it has succeeded, it has previews and live outputs "
            "only."
        )
        raise Problem(code, detail)
    names = ", ".join(each.name for each in job.complete)
    raise Problem("output_not_found", f"Output {name!r} not found; the job has: {names}.")


def _download(job: Job, output: Output, services: Services) -> Response:
    storage, filename = services.storage, download_name(job, output.name)
    if isinstance(storage, LocalStorage):
        return Download(storage.path(output.key), media_type=output.content_type, filename=filename)
    link = storage.link(output.key, filename=filename, seconds=services.settings.link_seconds)
    return RedirectResponse(link, 307)
