"""POST /jobs/{id}/render: render existing motion again, without sampling it again."""

from fastapi import APIRouter, Request, Response

from api.bounds.declare import PLAIN_BYTES, Bounds, bounded
from api.bounds.request import BoundedRoute
from api.dependencies import ServicesDep
from api.middleware.auth import CallerDep
from api.problems import problems
from api.schemas.jobs import JobView, job_view
from api.schemas.parameters import (
    ACCEPTED_HEADERS,
    RETRY_SECONDS,
    CancelAfterHeader,
    IdempotencyKeyHeader,
    JobId,
    with_cancel_after,
)
from api.schemas.render import RenderAsked
from api.services.render import render_again
from api.services.submit import REQUEST_CHECKS

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BoundedRoute)

AS_BEFORE = RenderAsked()


@router.post(
    "/{job_id}/render",
    operation_id="render_job",
    status_code=202,
    summary="Render the motion of a job again",
    description="""Makes a new job of the motion of this one: other views, another size, some of its
takes. The motion is not sampled again, so the person moves as before. The job may have failed or
been canceled, if that was after its motion was stored; it may be deleted afterwards.""",
    responses=problems(
        "malformed_body",
        "upload_too_slow",
        "upload_too_large",
        "job_not_found",
        "file_not_found",
        "idempotency_key_reused",
        "motion_missing",
        "motion_outdated",
        "input_expired",
        "invalid_request",
        "take_unknown",
        *REQUEST_CHECKS,
        "quota_jobs",
        "storage_unavailable",
        "database_unavailable",
        "storage_full",
        success={202: {"description": "Accepted: a new job.", "headers": ACCEPTED_HEADERS}},
    ),
)
@bounded(Bounds(PLAIN_BYTES))
def render(
    job_id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    body: RenderAsked = AS_BEFORE,
    key: IdempotencyKeyHeader = None,
    cancel_after: CancelAfterHeader = None,
) -> JobView:
    body = with_cancel_after(body, cancel_after)
    source = services.database.jobs.get(job_id, tenant=caller.sees)
    accepted = render_again(source, body, key, caller.tenant, services)
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/jobs/{accepted.made.id}"
    response.headers["Retry-After"] = RETRY_SECONDS
    return job_view(accepted.made, services, request)
