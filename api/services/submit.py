"""Accept a request as a job: check it, store its clip, write its row, wake a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import OperationalError

from api.problems import Problem
from api.services.clip_sources import recording_of
from api.services.idempotency import make_once
from jobs.model import NewJob, new_job_id
from jobs.outbound.http_client import UrlRefused, sentence_of
from jobs.persons import list_people
from jobs.queue.celery_app import wake
from jobs.request.values import SizeUnsupported, check_samples, check_width
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
    from jobs.request.model import GenerateRequest
    from jobs.store.batches import Batch, NewBatch

    Body = GenerateForm | GenerateBody

# Codes of the checks in this module.
REQUEST_CHECKS = ("person_unknown", "view_unknown", "size_unsupported", "callback_url_refused")


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


def people_of(services: Services) -> Mapping[str, PersonSummary]:
    """All persons by name."""
    return {person.name: person for person in list_people(services.settings.people)}


def person_for(request: GenerateRequest, people: Mapping[str, PersonSummary]) -> PersonSummary:
    """Return the requested person.

    Raises:
        Problem: when the person is unknown, or has no such views or size.
    """
    if (person := people.get(request.person)) is None:
        available = ", ".join(people) or "none yet, the operator has to add one"
        detail = f"Person {request.person!r} not found; available: {available}."
        fields = [{"field": "person", "detail": detail}]
        raise Problem("person_unknown", detail, errors=fields)
    _check_views_and_size(request, person)
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
    person = person_for(body, people_of(services))
    attributes = job_attributes(body, services)
    job_id = new_job_id()
    new = NewJob(
        id=job_id,
        request=body.request(),
        tenant=tenant,
        **attributes,
        **recording.stored_for(job_id, body.person_channel, person, services),
    )
    return submit(new, key, services)


def _check_views_and_size(request: GenerateRequest, person: PersonSummary) -> None:
    unknown = [name for name in request.views or () if name not in person.views]
    if unknown and person.views:  # without a readable camera list the worker checks the views
        available = ", ".join(person.views)
        detail = f"View {unknown[0]!r} of {person.name!r} not found; available: {available}."
        raise Problem("view_unknown", detail, errors=[{"field": "views", "detail": detail}])
    try:
        size = request.size or person.defaults.size
        check_width(size, request.views or person.default_views)
        check_samples(size, request.supersampling)
    except SizeUnsupported as error:
        fields = [{"field": "size", "detail": str(error)}]
        raise Problem("size_unsupported", f"{error}.", errors=fields) from error
