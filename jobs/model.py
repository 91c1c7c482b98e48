"""Records of jobs: state, request, outputs, and everything that a new job needs."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from jobs.storage.keys import attempt_folder
from jobs.telemetry.trace_context import current_trace
from jobs.webhooks.events import WEBHOOK_EVENTS

if TYPE_CHECKING:
    from jobs.request.model import GenerateRequest, JobRequest
    from jobs.webhooks.events import WebhookEvent

Clock = Callable[[], datetime]  # returns the current time, an aware datetime in UTC
LOCAL = "local"  # tenant of callers on this machine, when no API key is needed


class State(StrEnum):
    """State of a job: queued -> running -> succeeded | failed | canceled."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        """True for states that only a retry by the owner can change."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELED)


@dataclass(frozen=True)
class Output:
    """One output file of a job."""

    name: str  # name in URLs: "take-1.mp4"
    key: str  # storage key
    content_type: str
    bytes: int
    pieces: int | None = None  # stored so far, while it grows; None: complete, under its key

    def stored(self) -> dict[str, Any]:
        """Return the output as JSON of a row."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class JobWarning:
    """A defect of a clip with which the job still runs, such as a cut-off file."""

    code: str
    detail: str  # a sentence


@dataclass(frozen=True)
class JobError:
    """The reason of a failed job, or of one that was canceled by `cancel_after`."""

    code: str
    detail: str  # a sentence


@dataclass(frozen=True)
class FinishedTake:
    """Outputs of one take, kept so that a later attempt does not make them again."""

    take: int  # from 1
    digest: str  # `jobs.request.model.motion_digest` of its motion
    outputs: tuple[Output, ...]

    def stored(self) -> dict[str, Any]:
        """Return the take as JSON of a row."""
        return asdict(self) | {"outputs": [output.stored() for output in self.outputs]}


@dataclass(frozen=True)
class Job:
    """One row of the table `jobs`, as it was when it was read."""

    id: str
    state: State
    attempt: int  # 0 before the first claim; guards every write of a worker
    max_attempts: int
    worker: str | None
    lease_until: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request: JobRequest  # seed is always set
    input_key: str
    partner_key: str | None  # clip of the partner, when each person has a file
    clip_seconds: float  # of the longer clip
    stage: str
    stage_progress: float  # 0..1 within the stage
    progress: float  # 0..1 of the whole job
    motion_key: str | None  # motion kept by this or an earlier attempt
    motion_digest: str | None  # `jobs.request.model.motion_digest` of that motion
    finished_takes: tuple[FinishedTake, ...]  # by this or earlier attempts
    outputs: tuple[Output, ...]
    warnings: tuple[JobWarning, ...]
    error_code: str | None
    error_detail: str | None
    priority: int  # -10..10; higher ones are claimed first
    metadata: Mapping[str, str]  # the owner's data
    input_expired_at: datetime | None  # time at which retention removed its clip
    outputs_expired_at: datetime | None
    tenant: str  # owner; the job is invisible to other tenants
    batch_id: str | None
    batch_place: int | None
    callback_url: str | None  # receives a webhook when the job has ended
    webhook_events: tuple[WebhookEvent, ...]  # that the URL receives
    cancel_after: float | None  # seconds from acceptance or retry
    cancel_at: datetime | None  # the end of that time
    filename: str | None  # of the clip on its sender's machine
    seconds_left: float | None  # estimate of its worker; None while it does not run
    queued_at: datetime | None  # of acceptance or the last retry; None in old rows
    trace: Mapping[str, str] | None  # headers of W3C Trace Context of its request
    device: str | None  # of the latest attempt: cpu or cuda
    device_seconds: float  # wall time for which its attempts held a device
    cost: float | None  # of that time; None without a price
    currency: str | None
    consent: Mapping[str, Any] | None  # of the person, when the job was accepted; None in old rows
    watermark: str | None = None  # id in its frames and sound, 16 hex digits
    partner_consent: Mapping[str, Any] | None = None  # of the second person, if there is one

    @property
    def usage(self) -> Usage | None:
        """Device time of its attempts so far; None before the first record of one."""
        if self.device is None:
            return None
        return Usage(self.device, self.device_seconds, self.cost, self.currency)

    @property
    def complete(self) -> tuple[Output, ...]:
        """Its outputs that are complete."""
        return tuple(output for output in self.outputs if output.pieces is None)

    @property
    def live(self) -> tuple[Output, ...]:
        """Outputs that can be read while its worker writes them; those of this attempt."""
        if self.state is not State.RUNNING:
            return ()
        growing = (output for output in self.outputs if output.pieces is not None)
        folder = f"{attempt_folder(self.id, self.attempt)}/"
        return tuple(output for output in growing if output.key.startswith(folder))

    @property
    def error(self) -> JobError | None:
        """The reason of a failed job, or of one that `cancel_after` has canceled."""
        return error_of(self.state, self.error_code, self.error_detail)


@dataclass(frozen=True)
class StoredMotion:
    """Stored motion of an earlier attempt or job."""

    key: str
    digest: str  # `jobs.request.model.motion_digest`


@dataclass(frozen=True)
class NewJob:
    """A job to queue; its clips are already stored."""

    id: str  # from `new_job_id`
    request: GenerateRequest
    input_key: str
    clip_seconds: float
    input_bytes: int = 0  # stored for this job alone
    tenant: str = LOCAL
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    callback_url: str | None = None
    webhook_events: tuple[WebhookEvent, ...] = WEBHOOK_EVENTS
    cancel_after: float | None = None  # seconds
    motion: StoredMotion | None = None
    partner_key: str | None = None
    filename: str | None = None  # by `contracts.files.plain_name`
    warnings: tuple[JobWarning, ...] = ()  # from the probe of its clip
    batch_id: str | None = None
    batch_place: int | None = None  # from 1
    consent: Mapping[str, Any] | None = None  # `contracts.consent.Consent.to_json`
    partner_consent: Mapping[str, Any] | None = None  # of the second person, if there is one
    trace: Mapping[str, str] | None = field(default_factory=current_trace)


@dataclass(frozen=True)
class Usage:
    """Device time of the attempts of a job so far, with its price."""

    device: str  # cpu or cuda; of the latest attempt
    device_seconds: float
    cost: float | None
    currency: str | None


@dataclass(frozen=True)
class JobStatus:
    """The attributes of a job that change while its owner waits."""

    state: State
    attempt: int
    stage: str
    stage_progress: float
    position: int | None  # in the queue; None when the job is not queued


def error_of(state: State, code: str | None, detail: str | None) -> JobError | None:
    """Return the error of a job in this state; a canceled job has one only with a code.

    The columns of other jobs may contain the reason why an earlier attempt was lost.
    """
    if state is State.FAILED or (state is State.CANCELED and code is not None):
        return JobError(code or "failed", detail or "")
    return None


def merged_warnings(
    earlier: Iterable[JobWarning], later: Sequence[JobWarning]
) -> tuple[JobWarning, ...]:
    """Return both; where codes are equal, only the later warning."""
    codes = {warning.code for warning in later}
    return (*(warning for warning in earlier if warning.code not in codes), *later)


def warnings_of(stored: Iterable[Mapping[str, str]]) -> tuple[JobWarning, ...]:
    """Return warnings that were stored as JSON."""
    return tuple(JobWarning(**each) for each in stored)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def new_job_id() -> str:
    """Return an unguessable id that sorts by time: UUID version 7 of RFC 9562, as hex."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))  # the UUID keeps 74 of these 80 bits
    number = milliseconds << 80 | random
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=number).hex
