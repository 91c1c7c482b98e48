"""POST /generate: make a job of a clip."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Response, UploadFile
from starlette.concurrency import run_in_threadpool

from api.bounds.declare import PLAIN_BYTES, Bounds, Pool, bounded
from api.bounds.request import BoundedRequest, BoundedRoute
from api.dependencies import JobWatcherDep, Services, ServicesDep
from api.middleware.auth import CallerDep, require_active
from api.problems import CLIP_PROBLEMS, problems
from api.schemas.generate import GenerateBody, GenerateForm, body_of, request_body
from api.schemas.jobs import JobView, job_view
from api.schemas.parameters import (
    ACCEPTED_HEADERS,
    PREFERENCE_APPLIED,
    RETRY_SECONDS,
    CancelAfterHeader,
    IdempotencyKeyHeader,
    with_cancel_after,
)
from api.services.conditional import Prefer, has_ended, seconds_to_wait
from api.services.submit import REQUEST_CHECKS, accept
from jobs.model import Job
from jobs.sandbox.audio_formats import ACCEPTED
from jobs.store.job_rows import JobMissing

if TYPE_CHECKING:
    from api.services.upload_intake import UploadIntake

router = APIRouter(route_class=BoundedRoute)


@router.post(
    "/generate",
    operation_id="generate",
    status_code=202,
    tags=["jobs"],
    summary="Make video of a recording",
    description=f"""Send a recording as `audio`: {ACCEPTED}; in a form, or in JSON as base64.
For a file that was sent by POST /uploads, send its `upload_id` instead. The left channel is the
person to show, the right channel the partner; in a mono file the partner is silent.
If each person has a file, send the partner's as `partner` or `partner_upload_id`. Returns a job:
read it at `Location` until it has ended.""",
    openapi_extra=body_of(GenerateForm, GenerateBody),
    responses=problems(
        "malformed_body",
        "upload_too_slow",
        "upload_too_large",
        "idempotency_key_reused",
        "body_type_unsupported",
        *REQUEST_CHECKS,
        "invalid_request",
        "upload_unknown",
        "upload_incomplete",
        *CLIP_PROBLEMS,
        "partner_channels",
        "audio_url_refused",
        "audio_url_failed",
        "quota_jobs",
        "quota_seconds",
        "quota_bytes",
        "uploads_busy",
        "storage_unavailable",
        "database_unavailable",
        "storage_full",
        success={
            200: {
                "description": "The job has already ended.",
                "model": JobView,
                "headers": ACCEPTED_HEADERS | PREFERENCE_APPLIED,
            },
            202: {
                "description": "Accepted: the job is stored and will run.",
                "headers": ACCEPTED_HEADERS | PREFERENCE_APPLIED,
            },
        },
    ),
)
@bounded(Bounds(PLAIN_BYTES, file_bytes="max_upload_bytes"))
async def generate(
    body: Annotated[GenerateForm | GenerateBody, Depends(request_body)],
    services: ServicesDep,
    caller: CallerDep,
    watch: JobWatcherDep,
    request: BoundedRequest,
    response: Response,
    key: IdempotencyKeyHeader = None,
    prefer: Prefer = None,
    cancel_after: CancelAfterHeader = None,
) -> JobView:
    """Store the clip and the job, and wake a worker; with `Prefer: wait`, wait for its end."""
    body = with_cancel_after(body, cancel_after)
    await require_active(caller, services)
    work = partial(accept, body, key, caller.tenant, services)
    if body.upload_id is None:
        request.holding.take(Pool.UPLOADS)  # a download by `audio_url` may hang, too
        intake: UploadIntake = request.app.state.intake
        accepted = await intake.run(work)
    else:
        accepted = await run_in_threadpool(work)
    for file in (body.audio, body.partner):
        if isinstance(file, UploadFile):
            await file.close()  # a request that waits below needs no upload
    request.holding.release(Pool.UPLOADS)
    job = accepted.made
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    if seconds := seconds_to_wait(prefer):
        response.headers["Preference-Applied"] = f"wait={seconds}"
        request.holding.take(Pool.WAITS)
        await watch.until(job.id, has_ended, seconds=seconds, key_id=caller.key_id)
        job = await run_in_threadpool(_latest, job, services)
    response.headers["Location"] = f"/jobs/{job.id}"
    if job.state.final:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = RETRY_SECONDS
    return await run_in_threadpool(job_view, job, services, request)


def _latest(job: Job, services: Services) -> Job:
    try:
        return services.database.jobs.get(job.id)
    except JobMissing:  # it was deleted after it was accepted
        return job
