"""A request becomes a job: checked, its clip kept, its row written, a worker woken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import OperationalError

from api.errors import Problem
from api.services.clip_sources import clip_of
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
    from api.services.clip_sources import Clip
    from jobs.model import Job
    from jobs.persons import PersonSummary
    from jobs.request.model import GenerateRequest
    from jobs.store.batches import Batch, NewBatch

    Body = GenerateForm | GenerateBody


@dataclass(frozen=True)
class Accepted:
    """A job, and whether an earlier request has made it."""

    job: Job
    replayed: bool


def accept(asked: Body, key: str | None, tenant: str, services: Services) -> Accepted:
    """The job of a request; the one that is there where its Idempotency-Key was sent before."""
    with clip_of(asked, tenant, services) as clip:
        once = (
            None
            if key is None
            else IdempotencyKey(key, request_digest(asked.facts(), clip.digest), tenant)
        )
        if (
            once is not None
            and (made := services.database.idempotency_keys.made_by(once)) is not None
        ):
            return Accepted(made, replayed=True)
        return _make(asked, clip, once, tenant, services)


def people_of(services: Services) -> Mapping[str, PersonSummary]:
    """Everybody who can be shown, by name."""
    return {person.name: person for person in list_people(services.settings.people)}


def person_for(request: GenerateRequest, people: Mapping[str, PersonSummary]) -> PersonSummary:
    """The person that is asked for, who can be shown as is asked. Problem where not."""
    if (person := people.get(request.person)) is None:
        there = ", ".join(people) or "none yet, the operator has to add one"
        sentence = f"There is no person {request.person!r}; there are: {there}."
        fields = [{"field": "person", "detail": sentence}]
        raise Problem(422, "person_unknown", sentence, errors=fields)
    _check_picture(request, person)
    return person


def _make(
    asked: Body, clip: Clip, once: IdempotencyKey | None, tenant: str, services: Services
) -> Accepted:
    person = person_for(asked, people_of(services))
    callback_url = checked_callback(asked.callback_url, services)
    job_id = new_job_id()
    stored = clip.stored(job_id, person)
    new = NewJob(
        id=job_id,
        request=asked.request(),
        input_key=stored.key,
        clip_seconds=stored.seconds,
        input_bytes=stored.bytes,
        tenant=tenant,
        priority=asked.priority,
        metadata=asked.metadata,
        callback_url=callback_url,
    )
    try:
        job = submitted(new, once, services)
    except IdempotencyConflict:  # by a request that came at the same time
        assert once is not None
        if (made := services.database.idempotency_keys.made_by(once)) is not None:
            return Accepted(made, replayed=True)
        return _make(asked, clip, once, tenant, services)  # and deleted since
    return Accepted(job, replayed=False)


def submitted(new: NewJob, once: IdempotencyKey | None, services: Services) -> Job:
    """Queue the job and wake a worker. Where it is refused, nothing stays that is its alone."""
    try:
        job = services.database.jobs.submit(new, key=once)
    except (QuotaExceeded, IdempotencyConflict):
        services.storage.delete(job_folder(new.id))
        raise
    except OperationalError as error:
        if is_full(error):  # no row; where the answer was lost there may be one, and clips stay
            services.storage.delete(job_folder(new.id))
        raise
    wake(services.queue, new.id)  # a lost wake-up is sent again by the reaper
    return job


def submitted_batch(batch: NewBatch, of: Sequence[NewJob], services: Services) -> Batch:
    """Queue the jobs and wake workers."""
    made = services.database.batches.submit(batch, of)
    for new in of[:WAKES_AT_ONCE]:
        wake(services.queue, new.id)
    return made


def checked_callback(url: str | None, services: Services) -> str | None:
    """The callback URL as it will be asked for. Problem where it is none that we would ask."""
    try:
        return None if url is None else services.outbound.check_url(url)
    except UrlRefused as error:
        sentence = f"{sentence_of(error)} Send a callback_url like https://example.com/hook."
        fields = [{"field": "callback_url", "detail": str(error)}]
        raise Problem(422, "callback_url_refused", sentence, errors=fields) from error


def _check_picture(request: GenerateRequest, person: PersonSummary) -> None:
    """Whether the person has these views, and whether they fit into one picture."""
    unknown = [name for name in request.views or () if name not in person.views]
    if unknown and person.views:  # where cameras cannot be read, the worker tells
        sentence = (
            f"There is no view {unknown[0]!r} of {person.name!r}; there are: "
            f"{', '.join(person.views)}."
        )
        fields = [{"field": "views", "detail": sentence}]
        raise Problem(422, "view_unknown", sentence, errors=fields)
    try:
        size = request.size or person.defaults.size
        check_width(size, request.views or person.default_views)
        check_samples(size, request.supersampling)
    except SizeUnsupported as error:
        fields = [{"field": "size", "detail": str(error)}]
        raise Problem(422, "size_unsupported", f"{error}.", errors=fields) from error
