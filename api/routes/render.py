"""POST /jobs/{id}/render: another look at motion that is there, without drawing it again."""

from fastapi import APIRouter, Request, Response

from api.dependencies import Services, ServicesDep
from api.errors import Problem, documented
from api.middleware.auth import CallerDep
from api.routes.generate import ACCEPTED_HEADERS, IdempotencyKeyHeader
from api.routes.jobs import MISSING, NO_DATABASE, NO_ID, QUOTA_JOBS, RETRY_SECONDS, JobId
from api.schemas.generate import fitting
from api.schemas.jobs import JobView, job_view
from api.schemas.render import RenderAsked
from api.services.submit import Accepted, checked_callback, people_of, person_for, submitted
from jobs.model import Job, KeptMotion, NewJob, new_job_id
from jobs.request.model import JobRequest, motion_digest
from jobs.storage.keys import attempt_key, job_folder
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey, request_digest

router = APIRouter(prefix="/jobs", tags=["jobs"])

AS_IT_WAS = RenderAsked()


@router.post(
    "/{job_id}/render",
    status_code=202,
    summary="Show the motion of a job from another side",
    description="""Makes a new job of the motion that this one has drawn: other views, another size,
some of its takes. Nothing is drawn again, so the person moves as before. The job may have failed or
been canceled, if that was after its motion was drawn; it may be deleted then.""",
    responses=documented(
        (400, "malformed_body", "The body of the request could not be read; send JSON."),
        MISSING,
        NO_ID,
        NO_DATABASE,
        (404, "file_not_found", "The file is no longer there."),
        (409, "motion_missing", "The job has no motion yet; wait until it renders."),
        (409, "motion_outdated", "The person 'demo' has changed since; send the recording again."),
        (409, "idempotency_key_reused", "The Idempotency-Key came with another request before."),
        (410, "input_expired", "The recording was kept until 2026-05-04; send it again."),
        (422, "take_unknown", "There is no take 5 of 2; name those that there are."),
        (422, "person_unknown", "There is no person 'ada'; there are: demo."),
        (422, "view_unknown", "There is no view 'back' of 'demo'; there are: front, wide."),
        (422, "size_unsupported", "3 views of 2048x2048 are too wide together."),
        (422, "callback_url_refused", "The address leads into a private network."),
        QUOTA_JOBS,
        (503, "storage_unavailable", "The storage does not answer just now."),
        (507, "storage_full", "No room is left to keep the recording; nothing of it was kept."),
        success={202: {"description": "Accepted: a new job.", "headers": ACCEPTED_HEADERS}},
    ),
)
def render(
    job_id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    asked: RenderAsked = AS_IT_WAS,
    key: IdempotencyKeyHeader = None,
) -> JobView:
    source = services.database.jobs.get(job_id, tenant=caller.sees)
    facts = asked.model_dump(mode="json", exclude_defaults=True) | {"render": source.id}
    once = None if key is None else IdempotencyKey(key, request_digest(facts, ""), caller.tenant)
    accepted = _accept(source, asked, once, caller.tenant, services)
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/jobs/{accepted.job.id}"
    response.headers["Retry-After"] = RETRY_SECONDS
    return job_view(accepted.job, services, request)


def _accept(
    source: Job, asked: RenderAsked, once: IdempotencyKey | None, tenant: str, services: Services
) -> Accepted:
    if once is not None and (made := services.database.idempotency_keys.made_by(once)) is not None:
        return Accepted(made, replayed=True)
    look = asked.changed_look()
    shown = _takes(source, asked)
    wanted = fitting(JobRequest, source.request.model_dump() | look | {"shown": shown})
    motion = _motion(source, wanted, services)
    new_id = new_job_id()
    kept = KeptMotion(attempt_key(new_id, 0, "motion.npz"), motion.digest)
    callback_url = checked_callback(asked.callback_url, services)
    services.storage.copy(motion.key, kept.key)  # its own: either job may be deleted
    new = NewJob(
        new_id,
        wanted,
        input_key=_clip(source, new_id, services),
        clip_seconds=source.clip_seconds,
        tenant=tenant,
        priority=asked.priority,
        metadata=asked.metadata,
        callback_url=callback_url,
        motion=kept,
    )
    try:
        return Accepted(submitted(new, once, services), replayed=False)
    except IdempotencyConflict:  # by a request that came at the same time
        assert once is not None
        if (made := services.database.idempotency_keys.made_by(once)) is not None:
            return Accepted(made, replayed=True)
        raise


def _takes(source: Job, asked: RenderAsked) -> tuple[int, ...] | None:
    most = source.request.takes
    for take in asked.takes or ():
        if take > most:
            sentence = f"There is no take {take} of {most}; name those that there are."
            fields = [{"field": "takes", "detail": sentence}]
            raise Problem(422, "take_unknown", sentence, errors=fields)
    return asked.takes


def _motion(source: Job, wanted: JobRequest, services: Services) -> KeptMotion:
    """The motion of the job, which is what would be drawn again."""
    person = person_for(wanted, people_of(services))
    if source.input_expired_at is not None:
        day = f"{source.input_expired_at:%Y-%m-%d}"
        sentence = f"The recording was kept until {day}; send it again as a new job."
        raise Problem(410, "input_expired", sentence)
    if source.motion_key is None or source.motion_digest is None:
        ended = "and will have none" if source.state.final else "yet; wait until it renders"
        raise Problem(409, "motion_missing", f"The job has no motion {ended}.")
    if source.motion_digest != motion_digest(wanted, person.digest):
        sentence = f"The person {person.name!r} has changed since; send the recording again."
        raise Problem(409, "motion_outdated", sentence)
    return KeptMotion(source.motion_key, source.motion_digest)


def _clip(source: Job, new_id: str, services: Services) -> str:
    """Where the clip of the new job lies: a copy, unless it is an upload that many jobs use."""
    own = f"{job_folder(source.id)}/"
    if not source.input_key.startswith(own):
        return source.input_key
    copy = f"{job_folder(new_id)}/{source.input_key.removeprefix(own)}"
    services.storage.copy(source.input_key, copy)
    return copy
