"""What answers look like."""

from datetime import datetime, timedelta
from urllib.parse import urljoin

from fastapi import Request
from pydantic import BaseModel, Field

from api.dependencies import Services
from contracts.stages import STAGE_NAMES
from jobs.model import Job, JobStatus, Output, State
from jobs.persons import PersonSummary
from jobs.request.model import JobRequest
from jobs.settings import Settings
from jobs.store.pagination import Page


class StageView(BaseModel):
    """How far one stage is."""

    name: str
    progress: float = Field(ge=0, le=1)


class OutputView(BaseModel):
    """One file that is ready."""

    name: str
    content_type: str
    bytes: int
    url: str = Field(description="Signed, for a while; GET the job again for a new one.")
    path: str = Field(description="Stays: leads to the file with what the caller may see.")


class ErrorView(BaseModel):
    """Why a job failed."""

    code: str
    detail: str


class JobView(BaseModel):
    """A job as its owner sees it."""

    id: str
    tenant: str = Field(description="Whose job it is: that of the key which sent it.")
    state: State
    stage: str = Field(description=f"One of {', '.join(STAGE_NAMES)}, in this order.")
    progress: float = Field(ge=0, le=1, description="Of the whole.")
    stages: list[StageView]
    position: int | None = Field(description="1 is next; null once the job has left the queue.")
    attempt: int
    max_attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    clip_seconds: float
    priority: int
    metadata: dict[str, str] = Field(description="As it was sent.")
    batch: str | None = Field(description="The batch that it came with.")
    callback_url: str | None = Field(description="Is told when the job has ended.")
    request: JobRequest
    outputs: list[OutputView]
    expires_at: datetime | None = Field(
        description="From then on its files may be gone; null where they are kept for ever."
    )
    expired: bool = Field(description="Whether its files were removed by age.")
    error: ErrorView | None


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]
    next: str | None = Field(description="`cursor` of the next page; null after the last.")


class People(BaseModel):
    """Whom this service can show."""

    people: list[PersonSummary]


class Health(BaseModel):
    """A word."""

    status: str


class Readiness(BaseModel):
    """A word for each thing that the service needs."""

    status: str
    checks: dict[str, str]


def job_list(page: Page, services: Services, request: Request) -> JobList:
    """A page of jobs."""
    queued = [job.id for job in page.jobs if job.state is State.QUEUED]
    places = services.database.jobs.positions(queued) if queued else {}
    views = [_view(job, places.get(job.id), services, request) for job in page.jobs]
    return JobList(jobs=views, next=page.cursor)


def job_view(job: Job, services: Services, request: Request) -> JobView:
    """The job with its place in the queue and links that start where the caller came in."""
    place = services.database.jobs.position(job.id) if job.state is State.QUEUED else None
    return _view(job, place, services, request)


def status_of(view: JobView) -> JobStatus:
    """What of a view changes while its owner waits."""
    parts = {stage.name: stage.progress for stage in view.stages}
    return JobStatus(view.state, view.attempt, view.stage, parts[view.stage], view.position)


def download_name(job: Job, name: str) -> str:
    """What the file is called on the caller's disk: files of two jobs do not meet."""
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
        request=job.request,
        outputs=[_output(job, output, services, request) for output in job.outputs],
        expires_at=_expires_at(job, services.settings),
        expired=job.outputs_expired_at is not None,
        error=_error(job),
    )


def _stages(job: Job) -> list[StageView]:
    names = STAGE_NAMES
    at = names.index(job.stage)
    if job.state is State.QUEUED:
        done = [0.0] * len(names)
    else:
        done = [1.0] * at + [job.stage_progress] + [0.0] * (len(names) - at - 1)
    return [StageView(name=name, progress=part) for name, part in zip(names, done, strict=True)]


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


def _error(job: Job) -> ErrorView | None:
    if job.state is not State.FAILED:
        return None
    return ErrorView(code=job.error_code or "failed", detail=job.error_detail or "")
