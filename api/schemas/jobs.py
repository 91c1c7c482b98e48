"""Response bodies of jobs, persons and health."""

from datetime import datetime, timedelta
from urllib.parse import urljoin

from fastapi import Request
from pydantic import BaseModel, Field

from api.dependencies import Services
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


class ErrorView(BaseModel):
    """The reason of a failed job, or of one that was canceled by `cancel_after`."""

    code: str
    detail: str


class WarningView(BaseModel):
    """A defect of the clip with which the job still runs."""

    code: str
    detail: str


class JobView(BaseModel):
    """A job as its owner sees it."""

    id: str
    tenant: str = Field(description="Tenant of the key that submitted the job.")
    state: State
    stage: str = Field(description=f"One of {', '.join(STAGE_NAMES)}, in this order.")
    progress: float = Field(ge=0, le=1, description="Of the whole job.")
    stages: list[StageView]
    position: int | None = Field(
        description="Position in the queue, 1 is next; null once the job has left the queue."
    )
    attempt: int
    max_attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
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


class People(BaseModel):
    """Persons that this service can render."""

    people: list[PersonSummary]


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


def status_of(view: JobView) -> JobStatus:
    """The members of a view that change while the job is queued or running."""
    progress = {stage.name: stage.progress for stage in view.stages}
    return JobStatus(view.state, view.attempt, view.stage, progress[view.stage], view.position)


def download_name(job: Job, name: str) -> str:
    """File name of a download; it contains the job's id, so files of two jobs differ."""
    return f"{job.request.person}-{job.id[-8:]}-{name}"


def _view(job: Job, position: int | None, services: Services, request: Request) -> JobView:
    return JobView(
        id=job.id,
        tenant=job.tenant,
        state=job.state,
        stage=job.stage,
        progress=round(job.progress, 4),
        stages=_stages(job),
        position=position,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        clip_seconds=job.clip_seconds,
        priority=job.priority,
        metadata=dict(job.metadata),
        batch=job.batch_id,
        callback_url=job.callback_url,
        webhook_events=job.webhook_events,
        cancel_after=job.cancel_after,
        cancel_at=job.cancel_at,
        request=job.request,
        outputs=[_output(job, output, services, request) for output in job.outputs],
        warnings=[WarningView(code=each.code, detail=each.detail) for each in job.warnings],
        expires_at=_expires_at(job, services.settings),
        expired=job.outputs_expired_at is not None,
        error=error_view(job.error),
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


def _expires_at(job: Job, settings: Settings) -> datetime | None:
    if job.finished_at is None or not settings.keep_outputs_days:
        return None
    return job.finished_at + timedelta(days=settings.keep_outputs_days)


def error_view(error: JobError | None) -> ErrorView | None:
    """The error of a job as the API shows it."""
    return None if error is None else ErrorView(code=error.code, detail=error.detail)
