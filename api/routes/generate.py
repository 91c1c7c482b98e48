"""POST /generate: a clip in, a job out."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response, UploadFile
from pydantic import ConfigDict, Field, field_validator

from api.deps import Services, ServicesDep
from api.errors import Problem, documented
from api.routes.jobs import RETRY_SECONDS
from api.uploads import UploadRoute, inspected, kept
from api.views import JobView, job_view
from jobs.job import Job, input_key, new_job_id
from jobs.media import ACCEPTED, ClipInfo
from jobs.people import PersonSummary, list_people
from jobs.queue import wake
from jobs.request import GenerateRequest
from jobs.storage import CONTENT_TYPES

router = APIRouter(route_class=UploadRoute)


class GenerateForm(GenerateRequest):
    """The form of POST /generate: the clip, and what to make of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    audio: Annotated[UploadFile, Field(description="The recording, one or two channels.")]

    @field_validator("outputs", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """`outputs=video,motion` and `outputs=video&outputs=motion` mean the same."""
        if isinstance(given, list | tuple):
            return tuple(word.strip() for each in given for word in str(each).split(","))
        return given

    def request(self) -> GenerateRequest:
        return GenerateRequest(**self.model_dump(exclude={"audio"}))


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
        (
            413,
            "upload_too_large",
            "The upload is larger than 104857600 bytes; send a shorter clip.",
        ),
        (415, "audio_type_unsupported", "This is not an audio file that we read; send wav."),
        (415, "body_type_unsupported", "The body is application/json; send multipart/form-data."),
        (422, "invalid_request", "takes: should be less than or equal to 10, not '11'."),
        (422, "person_unknown", "There is no person 'ada'; there are: demo."),
        (422, "clip_too_long", "The clip may be 20 s long and is 31.50 s; cut it."),
        (422, "clip_too_short", "The clip is 0.020 s long; send 0.1 s or more."),
        (422, "audio_empty", "The audio file is empty; send a recording."),
        (422, "audio_channels", "The audio has 3 channels; send 2 or 1."),
        (422, "audio_damaged", "The file begins like flac and cannot be decoded; export it again."),
        (503, "storage_unavailable", "The storage does not answer just now."),
        (503, "database_unavailable", "The database does not answer just now."),
        success={
            202: {
                "description": "Accepted: the job is kept and will be done.",
                "headers": {
                    "Location": {"description": "The job.", "schema": {"type": "string"}},
                    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
                },
            }
        },
    ),
)
def generate(
    form: Annotated[GenerateForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    request: Request,
    response: Response,
) -> JobView:
    """Keep the clip, write the row, wake a worker."""
    person = _person(form.person, services)
    job = _accept(form, person, services)
    wake(services.queue, job.id)  # a lost wake-up is sent again by the reaper
    response.headers["Location"] = f"/jobs/{job.id}"
    response.headers["Retry-After"] = RETRY_SECONDS
    return job_view(job, services, request)


def _accept(form: GenerateForm, person: PersonSummary, services: Services) -> Job:
    with kept(form.audio, most=services.settings.max_upload_bytes) as path:
        clip: ClipInfo = inspected(path, person, services.settings)
        job_id = new_job_id()
        key = input_key(job_id, clip.container)
        services.storage.put(key, path, CONTENT_TYPES[f".{clip.container}"])
    return services.store.submit(
        form.request(), job_id=job_id, input_key=key, clip_seconds=clip.seconds
    )


def _person(name: str, services: Services) -> PersonSummary:
    people = {person.name: person for person in list_people(services.settings.people)}
    if name not in people:
        there = ", ".join(people) or "none yet, the operator has to add one"
        sentence = f"There is no person {name!r}; there are: {there}."
        fields = [{"field": "person", "detail": sentence}]
        raise Problem(422, "person_unknown", sentence, errors=fields)
    return people[name]
