"""POST /generate: a clip in, a job out."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Response, UploadFile
from pydantic import ConfigDict, Field, Json, field_validator
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from api.callers import CallerDep
from api.deps import Services, ServicesDep, WatchDep
from api.errors import Problem, documented
from api.routes.jobs import QUOTA_JOBS, RETRY_SECONDS
from api.uploads import UploadRequest, UploadRoute, inspected, kept
from api.views import JobView, job_view
from api.waiting import Prefer, has_ended, seconds_to_wait
from jobs.job import Job, input_key, job_folder, new_job_id
from jobs.media import ACCEPTED
from jobs.once import KeyTaken, Once, request_digest
from jobs.outbound import UrlRefused, sentence_of
from jobs.people import PersonSummary, list_people
from jobs.queue import wake
from jobs.request import (
    GenerateRequest,
    Metadata,
    Priority,
    SizeUnsupported,
    check_samples,
    check_width,
)
from jobs.room import is_full
from jobs.storage import CONTENT_TYPES
from jobs.store import JobMissing
from jobs.tenants import QuotaExceeded

router = APIRouter(route_class=UploadRoute)

IdempotencyKey = Annotated[
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


@dataclass(frozen=True)
class Accepted:
    """A job, and whether an earlier request has made it."""

    job: Job
    replayed: bool


class GenerateForm(GenerateRequest):
    """The form of POST /generate: the clip, and what to make of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    audio: Annotated[UploadFile, Field(description="The recording, one or two channels.")]
    priority: Priority = Field(
        default=0, description="-10 to 10: higher ones are done first, equal ones by their age."
    )
    metadata: Json[Metadata] = Field(
        default={},
        description='Your own words about it, as JSON: {"order": "17"}. Up to 16 strings of up to '
        "256 characters; kept and given back.",
        json_schema_extra={"default": "{}"},
    )
    callback_url: str | None = Field(
        default=None, description="https, on the public internet: is told when the job has ended."
    )

    @field_validator("outputs", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """`outputs=video,motion` and `outputs=video&outputs=motion` mean the same."""
        return _words(given)

    @field_validator("views", mode="before")
    @classmethod
    def _split_views(cls, given: Any) -> Any:
        words = _words(given)
        return None if words == ("",) else words  # an empty field means its default

    def request(self) -> GenerateRequest:
        return GenerateRequest(
            **self.model_dump(exclude={"audio", "priority", "metadata", "callback_url"})
        )

    def facts(self) -> dict[str, Any]:
        """Everything but the clip, and but what is left to its default."""
        return self.model_dump(exclude={"audio"}, exclude_defaults=True)


def _words(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return tuple(word.strip() for each in given for word in str(each).split(","))
    return given


@router.post(
    "/generate",
    status_code=202,
    tags=["jobs"],
    summary="Make video of a recording",
    description=f"""Send a recording as `audio`: {ACCEPTED}. Channel 1 is the person to show,
channel 2 the partner; in a mono file the partner is silent. The answer is a job: read it at
`Location` until it has ended.""",
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
        (415, "body_type_unsupported", "The body is application/json; send multipart/form-data."),
        (422, "invalid_request", "takes: should be less than or equal to 10, not '11'."),
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
    form: Annotated[GenerateForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    caller: CallerDep,
    watch: WatchDep,
    request: UploadRequest,
    response: Response,
    key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> JobView:
    """Keep the clip, write the row, wake a worker; wait for the end where that is preferred."""
    accepted = await request.uploads.run(partial(_accept, form, key, caller.tenant, services))
    await form.audio.close()  # whoever waits below keeps no upload
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
        return services.store.get(job.id)
    except JobMissing:  # deleted meanwhile: it was accepted all the same
        return job


def _accept(form: GenerateForm, key: str | None, tenant: str, services: Services) -> Accepted:
    with kept(form.audio, most=services.settings.max_upload_bytes) as path:
        once = None if key is None else Once(key, request_digest(form.facts(), path), tenant)
        if once is not None and (made := services.store.made_by(once)) is not None:
            return Accepted(made, replayed=True)
        return _make(form, path, once, tenant, services)


def _make(
    form: GenerateForm, path: Path, once: Once | None, tenant: str, services: Services
) -> Accepted:
    person = _person(form.person, services)
    _check_picture(form, person)
    callback_url = _checked_callback(form.callback_url, services)
    clip = inspected(path, person, services.settings)
    job_id = new_job_id()
    stored_at = input_key(job_id, clip.container)
    services.storage.put(stored_at, path, CONTENT_TYPES[f".{clip.container}"])
    try:
        job = services.store.submit(
            form.request(),
            job_id=job_id,
            input_key=stored_at,
            clip_seconds=clip.seconds,
            input_bytes=path.stat().st_size,
            tenant=tenant,
            priority=form.priority,
            metadata=form.metadata,
            callback_url=callback_url,
            once=once,
        )
    except QuotaExceeded:
        services.storage.delete(job_folder(job_id))
        raise
    except KeyTaken:  # by a request that came at the same time
        services.storage.delete(job_folder(job_id))
        assert once is not None
        if (made := services.store.made_by(once)) is not None:
            return Accepted(made, replayed=True)
        return _make(form, path, once, tenant, services)  # and deleted since
    except OperationalError as error:
        if is_full(error):  # no row; where the answer was lost there may be one, and clips stay
            services.storage.delete(job_folder(job_id))
        raise
    wake(services.queue, job_id)  # a lost wake-up is sent again by the reaper
    return Accepted(job, replayed=False)


def _person(name: str, services: Services) -> PersonSummary:
    people = {person.name: person for person in list_people(services.settings.people)}
    if name not in people:
        there = ", ".join(people) or "none yet, the operator has to add one"
        sentence = f"There is no person {name!r}; there are: {there}."
        fields = [{"field": "person", "detail": sentence}]
        raise Problem(422, "person_unknown", sentence, errors=fields)
    return people[name]


def _checked_callback(url: str | None, services: Services) -> str | None:
    try:
        return None if url is None else services.outbound.check_url(url)
    except UrlRefused as error:
        sentence = f"{sentence_of(error)} Send a callback_url like https://example.com/hook."
        fields = [{"field": "callback_url", "detail": str(error)}]
        raise Problem(422, "callback_url_refused", sentence, errors=fields) from error


def _check_picture(form: GenerateForm, person: PersonSummary) -> None:
    """Whether the person has these views, and whether they fit into one picture."""
    unknown = [name for name in form.views or () if name not in person.views]
    if unknown and person.views:  # where cameras cannot be read, the worker tells
        sentence = (
            f"There is no view {unknown[0]!r} of {person.name!r}; there are: "
            f"{', '.join(person.views)}."
        )
        fields = [{"field": "views", "detail": sentence}]
        raise Problem(422, "view_unknown", sentence, errors=fields)
    try:
        size = form.size or person.defaults.size
        check_width(size, form.views or person.default_views)
        check_samples(size, form.supersampling)
    except SizeUnsupported as error:
        fields = [{"field": "size", "detail": str(error)}]
        raise Problem(422, "size_unsupported", f"{error}.", errors=fields) from error
