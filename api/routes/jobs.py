"""GET /jobs and what lies below: how far a job is, and what it has made."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from api.deps import Services, ServicesDep
from api.downloads import Download
from api.errors import Problem, documented
from api.views import JobList, JobView, download_name, job_view
from jobs.job import Job, Output, State
from jobs.storage import LocalStorage

router = APIRouter(prefix="/jobs", tags=["jobs"])

RETRY_SECONDS = "1"
MISSING = (404, "job_not_found", "There is no job '0198c0ffee'.")
NO_DATABASE = (503, "database_unavailable", "The database does not answer just now.")
JobId = Annotated[str, Path(description="As POST /generate gave it.", max_length=64)]


@router.get(
    "",
    summary="The newest jobs",
    responses=documented(
        (422, "invalid_request", "limit: should be less than or equal to 100, not '1000'."),
        NO_DATABASE,
    ),
)
def recent(
    services: ServicesDep,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="How many.")] = 20,
) -> JobList:
    found = services.store.recent(limit=limit)
    return JobList(jobs=[job_view(job, services, request) for job in found])


@router.get(
    "/{job_id}",
    summary="One job: state, stage, progress, place in the queue, outputs",
    responses=documented(
        MISSING,
        (422, "invalid_request", "job_id: is too long."),
        NO_DATABASE,
        success={
            200: {
                "headers": {
                    "Retry-After": {
                        "description": "Seconds until asking again pays; absent once it has ended.",
                        "schema": {"type": "integer"},
                    }
                }
            }
        },
    ),
)
def one(job_id: JobId, services: ServicesDep, request: Request, response: Response) -> JobView:
    job = services.store.get(job_id)
    if not job.state.final:
        response.headers["Retry-After"] = RETRY_SECONDS
    return job_view(job, services, request)


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
        (416, "range_not_satisfiable", "The file is shorter than the range asks for."),
        (422, "invalid_request", "name: is too long."),
        (503, "storage_unavailable", "The storage does not answer just now."),
        NO_DATABASE,
        success={
            200: {"description": "The file.", "content": {"video/mp4": {}}},
            206: {"description": "The part that `Range` asks for.", "content": {"video/mp4": {}}},
            307: {"description": "The file lies in a bucket: go there."},
        },
    ),
)
def output(
    job_id: JobId,
    name: Annotated[str, Path(description="From the job's `outputs`.", max_length=64)],
    services: ServicesDep,
) -> Response:
    job = services.store.get(job_id)
    return _served(job, _named(job, name), services)


def _named(job: Job, name: str) -> Output:
    if job.state is not State.SUCCEEDED:
        code = "job_without_outputs" if job.state.final else "job_not_finished"
        raise Problem(
            409, code, f"The job is {job.state}; its outputs are there once it has succeeded."
        )
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
