"""Accept a request as a job: check it, store its clip, write its row, wake a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import OperationalError

from api.problems import Problem
from api.services.clip_sources import recording_of
from api.services.idempotency import make_once
from jobs.model import NewJob, new_job_id
from jobs.outbound.http_client import UrlRefused, sentence_of
from jobs.persons import (
    ConsentRefused,
    ControlUnsupported,
    OutputUnsupported,
    ShadingUnsupported,
    list_people,
)
from jobs.queue.celery_app import wake
from jobs.request.model import SamplerUnsupported
from jobs.request.values import (
    SIDE,
    SizeUnsupported,
    WatermarkRefused,
    check_samples,
    check_watermark,
    check_width,
)
from jobs.storage.disk_full import is_full
from jobs.storage.keys import job_folder
from jobs.store.attempts import WAKES_AT_ONCE
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey, request_digest
from jobs.store.quotas import QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.dependencies import Services
    from api.schemas.generate import GenerateBody, GenerateForm
    from api.services.clip_sources import Recording
    from api.services.idempotency import Accepted
    from jobs.model import Job
    from jobs.persons import PersonSummary
    from jobs.request.fields.job import JobFields
    from jobs.request.model import GenerateRequest, JobRequest
    from jobs.settings import Settings
    from jobs.store.batches import Batch, NewBatch

    Body = GenerateForm | GenerateBody

# Codes of the checks in this module.
REQUEST_CHECKS = (
    "person_unknown",
    "consent_refused",
    "watermark_refused",
    "view_unknown",
    "size_unsupported",
    "output_unsupported",
    "sampler_unsupported",
    "control_unsupported",
    "shading_unsupported",
    "callback_url_refused",
)


def accept(body: Body, key: str | None, tenant: str, services: Services) -> Accepted[Job]:
    """Make the job of a request, or return the one that its Idempotency-Key made before."""
    with recording_of(body, tenant, services) as recording:
        idempotency_key = (
            None
            if key is None
            else IdempotencyKey(key, request_digest(body.facts(), recording.digest), tenant)
        )
        return make_once(
            idempotency_key,
            find=services.database.idempotency_keys.made_by,
            make=lambda: _make(body, recording, idempotency_key, tenant, services),
        )


PERSON_FIELDS = ("person", "partner_person")  # of the persons, from left to right

NO_PEOPLE = (
    "The folder of persons is unavailable or empty; nothing was accepted. Try again in a moment."
)


def people_of(services: Services) -> Mapping[str, PersonSummary]:
    """Return all persons by name.

    Raises:
        Problem: without any person, as on an unmounted disk.
    """
    people = {person.name: person for person in list_people(services.settings.people)}
    if not people:
        raise Problem("storage_unavailable", NO_PEOPLE, headers={"Retry-After": "5"})
    return people


def persons_for(
    request: GenerateRequest, people: Mapping[str, PersonSummary], settings: Settings
) -> tuple[PersonSummary, ...]:
    """Return the requested persons, in the order of `GenerateRequest.people`.

    Raises:
        Problem: when a person is unknown, has no such views, size, outputs or sampler, or has
            not agreed; or when this service does not leave out the watermark.
    """
    found = tuple(
        _person_for(alone, field, people, settings)
        for alone, field in zip(request.performers, PERSON_FIELDS, strict=False)
    )
    try:
        check_watermark(wanted=request.watermark, setting=settings.watermark)
    except WatermarkRefused as error:
        fields = [{"field": "watermark", "detail": str(error)}]
        raise Problem("watermark_refused", f"{error}.", errors=fields) from error
    _check_together(request, found)
    return found


def accepted_for(request: JobRequest, persons: Sequence[PersonSummary]) -> dict[str, Any]:
    """Return attributes of a job of these persons, by the names of `NewJob`."""
    first, *others = (person.consent.to_json() for person in persons)
    return {
        "request": request.resolved(*(person.defaults for person in persons)),
        "consent": first,
        "partner_consent": next(iter(others), None),
    }


def _person_for(
    request: GenerateRequest, field: str, people: Mapping[str, PersonSummary], settings: Settings
) -> PersonSummary:
    """Return one person. request: shows only this person. field: that names the person."""
    if (person := people.get(request.person)) is None:
        available = ", ".join(people)
        detail = f"Person {request.person!r} not found; available: {available}."
        raise Problem("person_unknown", detail, errors=[{"field": field, "detail": detail}])
    try:
        person.check_use(request.use, settings.use)
    except ConsentRefused as error:
        cause = str(error).partition(":")[0]
        fields = [{"field": field if cause == "person" else cause, "detail": str(error)}]
        raise Problem("consent_refused", f"{error}.", errors=fields) from error
    _check_person_has(request, person)
    return person


def submit(new: NewJob, key: IdempotencyKey | None, services: Services) -> Job:
    """Queue the job and wake a worker. When the job is refused, its objects are removed."""
    try:
        job = services.database.jobs.submit(new, key=key)
    except (QuotaExceeded, IdempotencyConflict):
        services.storage.delete(job_folder(new.id))
        raise
    except OperationalError as error:
        # A full database has no row. After any other error it may have one, which needs its clip.
        if is_full(error):
            services.storage.delete(job_folder(new.id))
        raise
    wake(services.queue, new.id)  # the reaper repeats a lost wake-up
    return job


def submit_batch(batch: NewBatch, jobs: Sequence[NewJob], services: Services) -> Batch:
    """Queue the jobs and wake workers."""
    made = services.database.batches.submit(batch, jobs)
    for new in jobs[:WAKES_AT_ONCE]:
        wake(services.queue, new.id)
    return made


def job_attributes(asked: JobFields, services: Services) -> dict[str, Any]:
    """Return the attributes of the job by the names of `NewJob`, with the URL in normal form.

    Raises:
        Problem: when webhooks are not sent to this URL.
    """
    attributes = asked.job_attributes()
    if (url := asked.callback_url) is None:
        return attributes
    try:
        return attributes | {"callback_url": services.outbound.check_url(url)}
    except UrlRefused as error:
        detail = f"{sentence_of(error)} Send a callback_url like https://example.com/hook."
        fields = [{"field": "callback_url", "detail": str(error)}]
        raise Problem("callback_url_refused", detail, errors=fields) from error


def _make(
    body: Body, recording: Recording, key: IdempotencyKey | None, tenant: str, services: Services
) -> Job:
    persons = persons_for(body, people_of(services), services.settings)
    attributes = job_attributes(body, services)
    job_id = new_job_id()
    new = NewJob(
        id=job_id,
        tenant=tenant,
        **accepted_for(body.request(), persons),
        **attributes,
        **recording.stored_for(job_id, body.person_channel, persons, services),
    )
    return submit(new, key, services)


def _check_person_has(request: GenerateRequest, person: PersonSummary) -> None:
    unknown = [name for name in request.views or () if name not in person.views]
    if unknown and person.views:  # without a readable camera list the worker checks the views
        available = ", ".join(person.views)
        detail = f"View {unknown[0]!r} of {person.name!r} not found; available: {available}."
        raise Problem("view_unknown", detail, errors=[{"field": "views", "detail": detail}])
    _check_size(request, [person])
    try:
        person.check_outputs(request.outputs)
    except OutputUnsupported as error:
        fields = [{"field": "outputs", "detail": str(error)}]
        raise Problem("output_unsupported", f"{error}.", errors=fields) from error
    try:
        person.check_controls(request)
    except ControlUnsupported as error:
        fields = [{"field": error.field, "detail": str(error)}]
        raise Problem("control_unsupported", f"{error}.", errors=fields) from error
    try:
        person.check_shading(request.shading)
    except ShadingUnsupported as error:
        fields = [{"field": "shading", "detail": str(error)}]
        raise Problem("shading_unsupported", f"{error}.", errors=fields) from error


def _check_together(request: GenerateRequest, persons: Sequence[PersonSummary]) -> None:
    if request.layout == SIDE:
        _check_size(request, persons)
    try:
        request.check_sampler(*(person.defaults for person in persons))
    except SamplerUnsupported as error:
        fields = [{"field": error.field, "detail": str(error)}]
        raise Problem("sampler_unsupported", f"{error}.", errors=fields) from error


def _check_size(request: GenerateRequest, persons: Sequence[PersonSummary]) -> None:
    """Check the size of one picture of these persons."""
    try:
        size = request.size or persons[0].defaults.size
        views = [name for person in persons for name in request.views or person.default_views]
        check_width(size, views)
        check_samples(size, request.supersampling)
    except SizeUnsupported as error:
        fields = [{"field": "size", "detail": str(error)}]
        raise Problem("size_unsupported", f"{error}.", errors=fields) from error
