"""Response bodies of jobs, persons and health."""

from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urljoin

from fastapi import Request
from pydantic import BaseModel, Field

from api.dependencies import Services
from contracts.files import LONGEST_NAME
from contracts.stages import STAGE_NAMES
from jobs.model import Job, JobError, JobStatus, Output, State
from jobs.persons import PersonSummary
from jobs.request.model import JobRequest
from jobs.settings import Settings
from jobs.store.pagination import Page
from jobs.webhooks.events import WebhookEvent


class StageView(BaseModel):
    """Progress of one stage."""

    name: str
    progress: float = Field(ge=0, le=1)


class OutputView(BaseModel):
    """One output file."""

    name: str
    content_type: str
    bytes: int
    url: str = Field(description="Signed and temporary; GET the job again for a new one.")
    path: str = Field(description="Permanent; needs a key that may read the job.")


class LiveView(BaseModel):
    """An output that its worker is writing, and that can be read from its start."""

    name: str
    content_type: str
    bytes: int = Field(description="So far.")
    path: str = Field(
        description="Sends the file as it grows, until it is complete; a response that is cut off "
        "is not. Needs a key that may read the job."
    )


class ErrorView(BaseModel):
    """The reason of a failed job, or of one that was canceled by `cancel_after`."""

    code: str
    detail: str


class WarningView(BaseModel):
    """A defect of the clip with which the job still runs."""

    code: str
    detail: str


class UsageView(BaseModel):
    """Device time of all attempts of a job so far."""

    device: str = Field(description="`cuda` or `cpu`, of the latest attempt.")
    device_seconds: float = Field(description="Seconds for which its attempts held a device.")
    cost: float | None = Field(description="Of that time; null when the service has no price.")
    currency: str | None = Field(description="Three letters of ISO 4217.")


class JobView(BaseModel):
    """A job as its owner sees it."""

    id: str
    tenant: str = Field(description="Tenant of the key that submitted the job.")
    state: State
    stage: str = Field(description=f"One of {', '.join(STAGE_NAMES)}, in this order.")
    progress: float = Field(ge=0, le=1, description="Of the whole job.")
    stages: list[StageView]
    seconds_left: float | None = Field(
        description="Estimated seconds until a running job has ended; null in every other state, "
        "and before its worker has begun."
    )
    position: int | None = Field(
        description="Position in the queue, 1 is next; null once the job has left the queue."
    )
    attempt: int
    max_attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    filename: str | None = Field(
        description="Name of the clip's file, as sent; null when the request had none."
    )
    clip_seconds: float
    priority: int
    metadata: dict[str, str] = Field(description="As submitted.")
    batch: str | None = Field(description="Id of the batch that the job belongs to.")
    callback_url: str | None = Field(description="Receives a webhook when the job has ended.")
    webhook_events: tuple[WebhookEvent, ...] = Field(
        description="Events that `callback_url` receives."
    )
    cancel_after: float | None = Field(description="As submitted, in seconds.")
    cancel_at: datetime | None = Field(
        description="The job is canceled at this time if it has not ended; null: never."
    )
    request: JobRequest
    outputs: list[OutputView]
    consent: dict[str, Any] | None = Field(
        description="Agreement to show the person, as it was when the job was accepted; null in "
        "jobs of earlier releases."
    )
    partner_consent: dict[str, Any] | None = Field(
        description="Agreement to show the second person, as `consent`; null with one person."
    )
    live: list[LiveView] = Field(description="Outputs to be watched while the job runs.")
    usage: UsageView | None = Field(description="Device time and cost; null before an attempt.")
    warnings: list[WarningView] = Field(description="Defects of the clip.")
    expires_at: datetime | None = Field(
        description="Its files may be removed after this time; null when they are kept forever."
    )
    expired: bool = Field(description="Whether its files were removed by age.")
    error: ErrorView | None


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]
    next: str | None = Field(description="`cursor` of the next page; null after the last.")


class PersonView(PersonSummary):
    """A person that this service can render."""

    picture: str | None = Field(
        description="URL of a picture of the person; it needs no key and can be cached forever."
    )
    loop: str | None = Field(
        description="URL of a silent video of some seconds, to be repeated; as the picture."
    )


class People(BaseModel):
    """Persons that this service can render."""

    people: list[PersonView]


class Health(BaseModel):
    """State of the process."""

    status: str


class Readiness(BaseModel):
    """State of each thing that the service needs."""

    status: str
    checks: dict[str, str]


def job_list(page: Page, services: Services, request: Request) -> JobList:
    """A page of jobs with their positions in the queue."""
    queued = [job.id for job in page.jobs if job.state is State.QUEUED]
    positions = services.database.jobs.positions(queued) if queued else {}
    views = [_view(job, positions.get(job.id), services, request) for job in page.jobs]
    return JobList(jobs=views, next=page.cursor)


def job_view(job: Job, services: Services, request: Request) -> JobView:
    """The job with its position in the queue, and links that start with the request's base URL."""
    position = services.database.jobs.position(job.id) if job.state is State.QUEUED else None
    return _view(job, position, services, request)


def read_job_view(job_id: str, tenant: str | None, services: Services, request: Request) -> JobView:
    """Read the job from the store and return its view.

    tenant: None reads jobs of every tenant.

    Raises:
        JobMissing: when this tenant has no such job.
    """
    return job_view(services.database.jobs.get(job_id, tenant=tenant), services, request)


def person_view(person: PersonSummary, services: Services, request: Request) -> PersonView:
    """The person with URLs that start with the request's base URL, and the operator's limit."""
    base = str(request.base_url).rstrip("/")
    urls = {
        file.kind: f"{base}/people/{person.name}/{quote(file.name)}?version={file.sha256}"
        for file in person.files
    }
    both = {"picture": urls.get("picture"), "loop": urls.get("loop")}
    longest = {"max_seconds": min(person.max_seconds, services.settings.max_clip_seconds)}
    return PersonView.model_validate(dict(person) | both | longest)


def status_of(view: JobView) -> JobStatus:
    """The members of a view that change while the job is queued or running."""
    progress = {stage.name: stage.progress for stage in view.stages}
    return JobStatus(view.state, view.attempt, view.stage, progress[view.stage], view.position)


def download_name(job: Job, name: str) -> str:
    """File name of a download: after the clip, or else after the person and the job's id."""
    if job.filename is None:
        return f"{job.request.person}-{job.id[-8:]}-{name}"
    stem = PurePath(job.filename).stem
    return f"{stem[: LONGEST_NAME - len(name) - 1]}-{name}"


def _view(job: Job, position: int | None, services: Services, request: Request) -> JobView:
    return JobView(
        id=job.id,
        tenant=job.tenant,
        state=job.state,
        stage=job.stage,
        progress=round(job.progress, 4),
        stages=_stages(job),
        seconds_left=None if job.seconds_left is None else round(job.seconds_left, 1),
        position=position,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        filename=job.filename,
        clip_seconds=job.clip_seconds,
        priority=job.priority,
        metadata=dict(job.metadata),
        batch=job.batch_id,
        callback_url=job.callback_url,
        webhook_events=job.webhook_events,
        cancel_after=job.cancel_after,
        cancel_at=job.cancel_at,
        request=job.request,
        consent=None if job.consent is None else dict(job.consent),
        partner_consent=None if job.partner_consent is None else dict(job.partner_consent),
        outputs=[_output(job, output, services, request) for output in job.complete],
        live=[_live(job, output) for output in job.live],
        usage=_usage(job),
        warnings=[WarningView(code=each.code, detail=each.detail) for each in job.warnings],
        expires_at=_expires_at(job, services.settings),
        expired=job.outputs_expired_at is not None,
        error=error_view(job.error),
    )


def _usage(job: Job) -> UsageView | None:
    if (usage := job.usage) is None:
        return None
    cost = None if usage.cost is None else round(usage.cost, 6)
    return UsageView(
        device=usage.device,
        device_seconds=round(usage.device_seconds, 3),
        cost=cost,
        currency=usage.currency,
    )


def _stages(job: Job) -> list[StageView]:
    names = STAGE_NAMES
    current = names.index(job.stage)
    if job.state is State.QUEUED:
        done = [0.0] * len(names)
    else:
        done = [1.0] * current + [job.stage_progress] + [0.0] * (len(names) - current - 1)
    return [StageView(name=name, progress=each) for name, each in zip(names, done, strict=True)]


def _output(job: Job, output: Output, services: Services, request: Request) -> OutputView:
    link = services.storage.link(
        output.key,
        filename=download_name(job, output.name),
        seconds=services.settings.link_seconds,
    )
    return OutputView(
        name=output.name,
        content_type=output.content_type,
        bytes=output.bytes,
        url=urljoin(str(request.base_url), link),
        path=f"/jobs/{job.id}/outputs/{output.name}",
    )


def _live(job: Job, output: Output) -> LiveView:
    return LiveView(
        name=output.name,
        content_type=output.content_type,
        bytes=output.bytes,
        path=f"/jobs/{job.id}/outputs/{output.name}",
    )


def _expires_at(job: Job, settings: Settings) -> datetime | None:
    if job.finished_at is None or not settings.keep_outputs_days:
        return None
    return job.finished_at + timedelta(days=settings.keep_outputs_days)


def error_view(error: JobError | None) -> ErrorView | None:
    """The error of a job as the API shows it."""
    return None if error is None else ErrorView(code=error.code, detail=error.detail)
