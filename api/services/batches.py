"""Accept all items of a batch as jobs, or none."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from api.errors import problem_of_item
from api.problems import Problem
from api.services.clip_sources import Recording, UploadedClip, ready_upload
from api.services.idempotency import make_once
from api.services.submit import (
    accepted_for,
    job_attributes,
    people_of,
    persons_for,
    submit_batch,
)
from jobs.model import NewJob, new_job_id
from jobs.sandbox.audio_formats import MediaError
from jobs.store.batches import NewBatch
from jobs.store.idempotency import IdempotencyKey, request_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.dependencies import Services
    from api.schemas.generate import BatchEntry
    from api.services.idempotency import Accepted
    from jobs.store.batches import Batch

T = TypeVar("T")


def accept_batch(
    entries: list[BatchEntry], key: str | None, tenant: str, services: Services
) -> Accepted[Batch]:
    """Make the batch and its jobs, or return the batch that its Idempotency-Key made before.

    Raises:
        Problem: when one item is refused; it names the item, and no job is made.
    """
    upload_of = cache(
        lambda upload_id, field: ready_upload(upload_id, tenant, services, field=field)
    )

    def recording(entry: BatchEntry) -> Recording:
        clip = UploadedClip(upload_of(entry.upload_id, "upload_id"))
        if (partner := entry.partner_upload_id) is None:
            return Recording(clip, None)
        return Recording(clip, UploadedClip(upload_of(partner, "partner_upload_id")))

    recordings = _each(entries, recording)
    idempotency_key = None
    if key is not None:
        audio = hashlib.sha256("".join(each.digest for each in recordings).encode()).hexdigest()
        facts = {"items": [entry.facts() for entry in entries]}
        idempotency_key = IdempotencyKey(key, request_digest(facts, audio), tenant)

    def make() -> Batch:
        new = NewBatch(new_job_id(), tenant, idempotency_key)
        return submit_batch(new, _new_jobs(entries, recordings, new, services), services)

    return make_once(idempotency_key, find=services.database.batches.made_by, make=make)


def _new_jobs(
    entries: list[BatchEntry], recordings: list[Recording], batch: NewBatch, services: Services
) -> list[NewJob]:
    ids = sorted(new_job_id() for _ in entries)  # jobs of the same time are claimed by their ids
    people = people_of(services)

    def new_job(place: int, entry: BatchEntry) -> NewJob:
        persons = persons_for(entry, people, services.settings)
        stored = recordings[place].stored_for(ids[place], entry.person_channel, persons, services)
        return NewJob(
            ids[place],
            tenant=batch.tenant,
            batch_id=batch.id,
            batch_place=place + 1,
            **accepted_for(entry.request(), persons),
            **job_attributes(entry, services),
            **stored,
        )

    places = iter(range(len(entries)))
    return _each(entries, lambda entry: new_job(next(places), entry))


def _each(entries: list[BatchEntry], make: Callable[[BatchEntry], T]) -> list[T]:
    """`make` of every item. Raises Problem, which names the item, when one is refused."""
    made = []
    for place, entry in enumerate(entries, 1):
        try:
            made.append(make(entry))
        except (Problem, MediaError) as error:
            raise problem_of_item(f"items.{place}", error) from error
    return made
