"""/jobs and what lies below: how far a job is, what it has made; cancel, retry, delete."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import JobWatcherDep, Services, ServicesDep
from api.errors import Problem, documented
from api.middleware.auth import Caller, CallerDep, needed
from api.schemas.job_query import ListQuery
from api.schemas.jobs import JobList, JobView, download_name, job_list, job_view
from api.services.conditional import (
    IfNoneMatch,
    Prefer,
    entity_tag,
    has_moved,
    known_before,
    matches,
    seconds_to_wait,
)
from api.services.downloads import FOUND, Download
from jobs.maintenance.reaper import remove_objects
from jobs.model import Job, Output, State
from jobs.queue.celery_app import wake
from jobs.storage.factory import LocalStorage
from jobs.store.api_keys import Scope
from jobs.store.pagination import CursorError

router = APIRouter(prefix="/jobs", tags=["jobs"])

RETRY_SECONDS = "1"
MISSING = (404, "job_not_found", "There is no job '0198c0ffee'.")
NO_ID = (422, "invalid_request", "job_id: is too long.")
NO_DATABASE = (503, "database_unavailable", "The database does not answer just now.")
QUOTA_JOBS = (
    429,
    "quota_jobs",
    "Of 5 jobs 5 are queued or running; send this when one has ended.",
)
RETRY_LATER = {
    "Retry-After": {
        "description": "Seconds until asking again pays; absent once it has ended.",
        "schema": {"type": "integer"},
    }
}
TAGGED = {
    "ETag": {"description": "Names this answer, for `If-None-Match`.", "schema": {"type": "string"}}
}
JobId = Annotated[str, Path(description="As POST /generate gave it.", max_length=64)]


@router.get(
    "",
    summary="Jobs, newest first",
    responses=documented(
        (422, "invalid_request", "limit: should be less than or equal to 100, not '1000'."),
        NO_DATABASE,
    ),
)
def several(
    services: ServicesDep,
    caller: CallerDep,
    request: Request,
    asked: Annotated[ListQuery, Query()],
) -> JobList:
    if asked.tenant not in (None, caller.tenant):
        needed(caller, Scope.ADMIN)
    wanted = asked.wanted(caller.sees)
    try:
        page = services.database.jobs.page(wanted, limit=asked.limit, cursor=asked.cursor)
    except CursorError as error:
        detail = f"{error}; send `next` of an earlier page, as it is"
        fields = [{"field": "cursor", "detail": detail}]
        raise Problem(422, "invalid_request", f"cursor: {detail}.", errors=fields) from error
    return job_list(page, services, request)


@router.get(
    "/{job_id}",
    response_model=JobView,
    summary="One job: state, stage, progress, place in the queue, outputs",
    description="""With `Prefer: wait=N` the answer comes as soon as the job is in another state, or
another attempt, than that of `If-None-Match` (without it: than now), and after N seconds at the
latest. A job that has ended is answered at once.""",
    responses=documented(
        MISSING,
        NO_ID,
        NO_DATABASE,
        success={
            200: {"headers": TAGGED | RETRY_LATER},
            304: {"description": "Nothing has changed since.", "headers": TAGGED | RETRY_LATER},
        },
    ),
)
async def one(
    job_id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    watch: JobWatcherDep,
    request: Request,
    prefer: Prefer = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    view = await run_in_threadpool(seen, job_id, caller, services, request)
    headers = {"Vary": "Prefer"}
    if seconds := seconds_to_wait(prefer):
        headers["Preference-Applied"] = f"wait={seconds}"
        known = known_before(if_none_match, (view.state, view.attempt))
        if known == (view.state, view.attempt) and not view.state.final:
            await watch.until(job_id, partial(has_moved, known=known), seconds=seconds)
            view = await run_in_threadpool(seen, job_id, caller, services, request)
    if not view.state.final:
        headers["Retry-After"] = RETRY_SECONDS
    headers["ETag"] = entity_tag(view, services.settings)
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    # As it is: FastAPI would check and write it a second time.
    return Response(view.model_dump_json(), headers=headers, media_type="application/json")


@router.post(
    "/{job_id}/cancel",
    summary="End a job that is queued or running",
    description="""The job is canceled when this answers; if it ran, its worker stops within one
denoising step or one batch of frames. Canceling a canceled job changes nothing.""",
    responses=documented(
        MISSING,
        (409, "job_has_ended", "The job has failed; only one that is queued or running can end."),
        NO_ID,
        NO_DATABASE,
    ),
)
def cancel(job_id: JobId, services: ServicesDep, caller: CallerDep, request: Request) -> JobView:
    canceled = services.database.jobs.cancel(job_id, tenant=caller.sees)
    job = services.database.jobs.get(job_id, tenant=caller.sees)
    if not canceled and job.state is not State.CANCELED:
        sentence = f"The job has {job.state}; only one that is queued or running can be canceled."
        raise Problem(409, "job_has_ended", sentence)
    return job_view(job, services, request)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    summary="Do a failed or canceled job again",
    description="""It is the same job: it takes its old place in the queue, keeps motion that was
drawn, and has as many attempts as a new one.""",
    responses=documented(
        MISSING,
        (
            409,
            "job_not_retryable",
            "The job is running; only a failed or canceled one can be retried.",
        ),
        (410, "input_expired", "The recording was kept until 2026-05-04; send it again."),
        QUOTA_JOBS,
        NO_ID,
        NO_DATABASE,
        success={202: {"description": "Queued again.", "headers": RETRY_LATER}},
    ),
)
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
        sentence = f"The recording was kept until {day}; send it again as a new job."
        raise Problem(410, "input_expired", sentence)
    if not retried:
        sentence = (
            f"The job is {job.state}; only one that has failed or was canceled can be retried."
        )
        raise Problem(409, "job_not_retryable", sentence)
    wake(services.queue, job_id)
    response.headers["Retry-After"] = RETRY_SECONDS
    return job_view(job, services, request)


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Remove a job and everything that is stored of it",
    description="""The job is gone when this answers, and so are its files, unless the storage is
away: then they go as soon as it is back. A running job is stopped as by `cancel`.""",
    responses=documented(MISSING, NO_ID, NO_DATABASE),
)
def delete(job_id: JobId, services: ServicesDep, caller: CallerDep) -> None:
    deletion = services.database.jobs.delete(job_id, tenant=caller.sees)
    remove_objects(services.database, services.storage, deletion)


@router.get(
    "/{job_id}/outputs/{name}",
    summary="One file that the job has made",
    response_class=FileResponse,
    responses=documented(
        MISSING,
        (404, "output_not_found", "The job has no output 'take-9.mp4'; it has: take-1.mp4."),
        (404, "file_not_found", "The file is no longer there."),
        (409, "job_not_finished", "The job is running; its outputs are there once it succeeded."),
        (409, "job_without_outputs", "The job is failed; its outputs are there once it succeeded."),
        (410, "output_expired", "The files of this job were kept until 2026-05-04; send it again."),
        (416, "range_not_satisfiable", "The file is shorter than the range asks for."),
        (422, "invalid_request", "name: is too long."),
        (503, "storage_unavailable", "The storage does not answer just now."),
        NO_DATABASE,
        success={**FOUND, 307: {"description": "The file lies in a bucket: go there."}},
    ),
)
def output(
    job_id: JobId,
    name: Annotated[str, Path(description="From the job's `outputs`.", max_length=64)],
    services: ServicesDep,
    caller: CallerDep,
) -> Response:
    job = services.database.jobs.get(job_id, tenant=caller.sees)
    return _served(job, _named(job, name), services)


def seen(job_id: str, caller: Caller, services: Services, request: Request) -> JobView:
    """The job as it stands. JobMissing where there is none that this caller may see."""
    return job_view(services.database.jobs.get(job_id, tenant=caller.sees), services, request)


def expired(job: Job) -> Problem:
    """The files were removed by age."""
    day = f"{job.outputs_expired_at:%Y-%m-%d}"
    sentence = f"The files of this job were kept until {day}; send the recording again."
    return Problem(410, "output_expired", sentence)


def _named(job: Job, name: str) -> Output:
    if job.state is not State.SUCCEEDED:
        code = "job_without_outputs" if job.state.final else "job_not_finished"
        raise Problem(
            409, code, f"The job is {job.state}; its outputs are there once it has succeeded."
        )
    if job.outputs_expired_at is not None:
        raise expired(job)
    for each in job.outputs:
        if each.name == name:
            return each
    there = ", ".join(each.name for each in job.outputs)
    raise Problem(404, "output_not_found", f"The job has no output {name!r}; it has: {there}.")


def _served(job: Job, found: Output, services: Services) -> Response:
    storage, filename = services.storage, download_name(job, found.name)
    if isinstance(storage, LocalStorage):
        return Download(storage.path(found.key), media_type=found.content_type, filename=filename)
    link = storage.link(found.key, filename=filename, seconds=services.settings.link_seconds)
    return RedirectResponse(link, 307)
