"""A job as everyone sees it: states, stages, outputs."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.request.model import GenerateRequest, JobRequest

Clock = Callable[[], datetime]  # the present, as an aware datetime in UTC
LOCAL = "local"  # the tenant of whoever calls from this machine, where no key is needed


class State(StrEnum):
    """The way of a job: queued -> running -> succeeded | failed | canceled."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        """Whether nothing will change any more, unless the owner asks for a retry."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELED)


@dataclass(frozen=True)
class Output:
    """One file that a job has made."""

    name: str  # what the caller asks for: "take-1.mp4"
    key: str  # where it lies in storage
    content_type: str
    bytes: int


@dataclass(frozen=True)
class FinishedTake:
    """What an attempt has made of one take, kept so that a later attempt need not make it again."""

    take: int  # from 1
    digest: str  # what its motion depends on: `jobs.request.model.motion_digest`
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Job:
    """One row of the table of jobs, as it was when it was read."""

    id: str
    state: State
    attempt: int  # 0 before the first claim; every write of a worker carries it
    max_attempts: int
    worker: str | None
    lease_until: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request: JobRequest  # seed is always set
    input_key: str
    clip_seconds: float
    stage: str
    stage_progress: float  # 0..1 within the stage
    progress: float  # 0..1 of the whole
    motion_key: str | None  # motion kept by this or an earlier attempt
    motion_digest: str | None  # what that motion depends on: `jobs.request.model.motion_digest`
    finished_takes: tuple[FinishedTake, ...]  # by this or earlier attempts
    outputs: tuple[Output, ...]
    error_code: str | None
    error_detail: str | None
    priority: int  # -10..10; higher ones are claimed first
    metadata: Mapping[str, str]  # the owner's own words about it
    input_expired_at: datetime | None  # when its clip was removed by age
    outputs_expired_at: datetime | None
    tenant: str  # whose job it is: nobody else sees it
    batch_id: str | None
    batch_place: int | None
    callback_url: str | None  # is told when the job has ended


@dataclass(frozen=True)
class KeptMotion:
    """Motion that was drawn already."""

    key: str
    digest: str  # what it depends on: `jobs.request.model.motion_digest`


@dataclass(frozen=True)
class NewJob:
    """A job to be queued, whose clip lies at `input_key` already."""

    id: str  # from `new_job_id`
    request: GenerateRequest
    input_key: str
    clip_seconds: float
    input_bytes: int = 0  # that are stored for this job alone
    tenant: str = LOCAL
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    callback_url: str | None = None
    motion: KeptMotion | None = None
    batch_id: str | None = None
    batch_place: int | None = None  # from 1


@dataclass(frozen=True)
class JobStatus:
    """As much of a job as changes while its owner waits."""

    state: State
    attempt: int
    stage: str
    stage_progress: float
    position: int | None  # in the queue; None when it is not queued


def utc_now() -> datetime:
    """The present; what every process hands to its `Store`."""
    return datetime.now(UTC)


def new_job_id() -> str:
    """An id that sorts by time and cannot be guessed: UUID version 7 of RFC 9562, as hex."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))  # 74 of these 80 bits stay
    number = milliseconds << 80 | random
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=number).hex
