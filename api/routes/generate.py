"""POST /generate: a clip in, a job out."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response, UploadFile
from starlette.concurrency import run_in_threadpool

from api.dependencies import JobWatcherDep, Services, ServicesDep
from api.errors import documented
from api.middleware.auth import CallerDep
from api.routes.jobs import QUOTA_JOBS, RETRY_SECONDS
from api.schemas.generate import GenerateBody, GenerateForm, body_of, request_body
from api.schemas.jobs import JobView, job_view
from api.services.conditional import Prefer, has_ended, seconds_to_wait
from api.services.submit import accept
from api.services.upload_intake import UploadRequest, UploadRoute
from jobs.model import Job
from jobs.sandbox.audio_probe import ACCEPTED
from jobs.store.job_rows import JobMissing

router = APIRouter(route_class=UploadRoute)

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="1 to 255 visible ASCII characters. The same key, fields and audio give the "
        "same job; kept for 24 hours beyond its end.",
    ),
]
ACCEPTED_HEADERS = {
    "Location": {"description": "The job.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "Idempotent-Replayed": {
        "description": "true: an earlier request with this key has made the job.",
        "schema": {"type": "string"},
    },
}


@router.post(
    "/generate",
    status_code=202,
    tags=["jobs"],
    summary="Make video of a recording",
    description=f"""Send a recording as `audio`: {ACCEPTED}; in a form, or in JSON as base64.
One that was sent by POST /uploads is named in `upload_id` instead. Channel 1 is the person to show,
channel 2 the partner; in a mono file the partner is silent. The answer is a job: read it at
`Location` until it has ended.""",
    openapi_extra=body_of(GenerateForm, GenerateBody),
    responses=documented(
        (400, "malformed_body", "The body of the request could not be read; send multipart."),
        (408, "upload_too_slow", "The upload has not arrived within 600 s; send a smaller format."),
        (409, "idempotency_key_reused", "The Idempotency-Key came with another request before."),
        (
            413,
            "upload_too_large",
            "The upload is larger than 104857600 bytes; send a shorter clip.",
        ),
        (415, "audio_type_unsupported", "This is not an audio file that we read; send wav."),
        (415, "body_type_unsupported", "The body is text/plain; send multipart/form-data."),
        (422, "invalid_request", "takes: should be less than or equal to 10, not '11'."),
        (
            422,
            "upload_unknown",
            "There is no upload '0198c0ffee', or it has expired; send it again.",
        ),
        (422, "upload_incomplete", "The upload '0198c0ffee' is not complete; send its parts."),
        (422, "person_unknown", "There is no person 'ada'; there are: demo."),
        (422, "view_unknown", "There is no view 'back' of 'demo'; there are: front, wide."),
        (
            422,
            "size_unsupported",
            "3 views of 2048x2048 make a picture 6144 pixels wide, more than 4096; ask for a size "
            "at most 1364 wide, or for fewer views.",
        ),
        (422, "callback_url_refused", "The URL does not begin with https://."),
        (422, "clip_too_long", "The clip may be 20 s long and is 31.50 s; cut it."),
        (422, "clip_too_short", "The clip is 0.020 s long; send 0.1 s or more."),
        (422, "audio_empty", "The audio file is empty; send a recording."),
        (422, "audio_channels", "The audio has 3 channels; send 2 or 1."),
        QUOTA_JOBS,
        (
            429,
            "quota_seconds",
            "Of 600 s a day 580.0 are used, and the clip has 31.5 s; send it after midnight, UTC.",
        ),
        (
            429,
            "quota_bytes",
            "Of 1000000 bytes 990000 are stored, and this is 48000; delete jobs first.",
        ),
        (422, "audio_damaged", "The file begins like flac and cannot be decoded; export it again."),
        (503, "uploads_busy", "All 64 places for uploads are taken just now; send it again."),
        (503, "storage_unavailable", "The storage does not answer just now."),
        (503, "database_unavailable", "The database does not answer just now."),
        (507, "storage_full", "There is no room left to keep it; nothing was accepted."),
        success={
            200: {
                "description": "The job has ended already.",
                "model": JobView,
                "headers": ACCEPTED_HEADERS,
            },
            202: {
                "description": "Accepted: the job is kept and will be done.",
                "headers": ACCEPTED_HEADERS,
            },
        },
    ),
)
async def generate(
    asked: Annotated[GenerateForm | GenerateBody, Depends(request_body)],
    services: ServicesDep,
    caller: CallerDep,
    watch: JobWatcherDep,
    request: UploadRequest,
    response: Response,
    key: IdempotencyKeyHeader = None,
    prefer: Prefer = None,
) -> JobView:
    """Keep the clip, write the row, wake a worker; wait for the end where that is preferred."""
    accepted = await request.intake.run(partial(accept, asked, key, caller.tenant, services))
    if isinstance(asked.audio, UploadFile):
        await asked.audio.close()  # whoever waits below keeps no upload
    request.leave()
    job = accepted.job
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    if seconds := seconds_to_wait(prefer):
        response.headers["Preference-Applied"] = f"wait={seconds}"
        await watch.until(job.id, has_ended, seconds=seconds)
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
    except JobMissing:  # deleted meanwhile: it was accepted all the same
        return job
