"""Render the motion of an existing job again, as a new job, without sampling it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.problems import Problem
from api.schemas.generate import fitting
from api.services.idempotency import make_once
from api.services.submit import accepted_for, job_attributes, people_of, persons_for, submit
from contracts.outputs import VIDEO
from contracts.provenance import joint_digest
from jobs.model import NewJob, StoredMotion, new_job_id
from jobs.request.model import JobRequest, motion_digest
from jobs.storage.keys import attempt_key, job_folder
from jobs.store.idempotency import IdempotencyKey, request_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.dependencies import Services
    from api.schemas.render import RenderAsked
    from api.services.idempotency import Accepted
    from jobs.model import Job
    from jobs.persons import PersonSummary


def render_again(
    source: Job, body: RenderAsked, key: str | None, tenant: str, services: Services
) -> Accepted[Job]:
    """Make the new job, or return the one that its Idempotency-Key made before.

    Raises:
        Problem: when the motion of `source` cannot be rendered as requested.
    """
    facts = body.model_dump(mode="json", exclude_defaults=True) | {"render": source.id}
    idempotency_key = (
        None if key is None else IdempotencyKey(key, request_digest(facts, ""), tenant)
    )
    return make_once(
        idempotency_key,
        find=services.database.idempotency_keys.made_by,
        make=lambda: _make(source, body, idempotency_key, tenant, services),
    )


def _make(
    source: Job, body: RenderAsked, key: IdempotencyKey | None, tenant: str, services: Services
) -> Job:
    look = _new_look(source, body)
    shown = _takes(source, body)
    request = fitting(JobRequest, source.request.model_dump() | look | {"shown": shown})
    persons = persons_for(request, people_of(services), services.settings)
    motion = _motion(source, request, persons)
    new_id = new_job_id()
    copied = StoredMotion(attempt_key(new_id, 0, "motion.npz"), motion.digest)
    attributes = job_attributes(body, services)
    services.storage.copy(motion.key, copied.key)  # either job may be deleted
    clips = [
        None if key is None else _copied(key, source, new_id, services)
        for key in (source.input_key, source.partner_key)
    ]
    input_key, partner_key = clips
    assert input_key is not None
    copies = [each for each in (*clips, copied.key) if each and each.startswith(job_folder(new_id))]
    new = NewJob(
        new_id,
        input_key=input_key,
        partner_key=partner_key,
        input_bytes=sum(services.storage.stat(each).bytes for each in copies),
        filename=source.filename,
        clip_seconds=source.clip_seconds,
        tenant=tenant,
        motion=copied,
        warnings=source.warnings,
        **accepted_for(request, persons) | {"request": request},
        **attributes,
    )
    return submit(new, key, services)


def _new_look(source: Job, body: RenderAsked) -> dict[str, Any]:
    """The look fields that change: without `outputs`, a job of previews alone becomes videos."""
    look = body.changed_look()
    if all(output.early for output in source.request.selected_outputs()):
        look.setdefault("outputs", (VIDEO,))
    return look


def _takes(source: Job, body: RenderAsked) -> tuple[int, ...] | None:
    count = source.request.takes
    for take in body.takes or ():
        if take > count:
            detail = f"Take {take} not found; the job has takes 1 to {count}."
            raise Problem("take_unknown", detail, errors=[{"field": "takes", "detail": detail}])
    return body.takes


def _motion(source: Job, request: JobRequest, persons: Sequence[PersonSummary]) -> StoredMotion:
    """The stored motion of the job, when sampling it again would give the same."""
    if source.input_expired_at is not None:
        day = f"{source.input_expired_at:%Y-%m-%d}"
        detail = f"The recording was kept until {day}; send it again as a new job."
        raise Problem("input_expired", detail)
    if source.motion_key is None or source.motion_digest is None:
        ended = "and will have none" if source.state.final else "yet; wait until it renders"
        raise Problem("motion_missing", f"The job has no motion {ended}.")
    digest = joint_digest(person.digest for person in persons)
    if source.motion_digest != motion_digest(request, digest):
        names = " or ".join(dict.fromkeys(repr(person.name) for person in persons))
        detail = f"The person {names} has changed since; send the recording again."
        raise Problem("motion_outdated", detail)
    return StoredMotion(source.motion_key, source.motion_digest)


def _copied(key: str, source: Job, new_id: str, services: Services) -> str:
    """The storage key of the new job's clip: a copy, or the upload that several jobs share."""
    own = f"{job_folder(source.id)}/"
    if not key.startswith(own):
        return key
    copy = f"{job_folder(new_id)}/{key.removeprefix(own)}"
    services.storage.copy(key, copy)
    return copy
