"""Answers of the API as typed, immutable records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - the decoder evaluates annotations
from typing import Any, Literal

State = Literal["queued", "running", "succeeded", "failed", "canceled"]
WebhookEventType = Literal["job.succeeded", "job.failed", "job.canceled"]
FINAL: frozenset[State] = frozenset(("succeeded", "failed", "canceled"))


@dataclass(frozen=True)
class Stage:
    """Progress of one stage, from 0 to 1."""

    name: str
    progress: float


@dataclass(frozen=True)
class JobWarning:
    """Defect of a clip with which its job still runs."""

    code: str
    detail: str


@dataclass(frozen=True)
class Failure:
    """Reason of a failed job, or of one that `cancel_after` has canceled."""

    code: str
    detail: str


@dataclass(frozen=True)
class Usage:
    """Device time of all attempts of a job so far; device: that of the latest, cuda or cpu."""

    device: str
    device_seconds: float
    cost: float | None = None  # None when the service has no price
    currency: str | None = None  # ISO 4217


@dataclass(frozen=True)
class LiveOutput:
    """Output that is being written; `path` sends it as it grows. bytes: so far."""

    name: str
    content_type: str
    bytes: int
    path: str


@dataclass(eq=False)
class OutputFields:
    """One output file of a job. url: signed, valid for an hour; path: permanent, needs the key."""

    name: str
    content_type: str
    bytes: int
    path: str
    url: str | None = None  # None in webhooks, which may arrive after it has expired


@dataclass(eq=False)
class JobFields:
    """A job as the service describes it; `docs/api.md` explains the members."""

    id: str
    tenant: str
    state: State
    attempt: int
    max_attempts: int
    priority: int
    request: dict[str, Any]
    metadata: dict[str, str]
    batch: str | None
    callback_url: str | None
    clip_seconds: float
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    warnings: list[JobWarning]
    error: Failure | None
    webhook_events: list[WebhookEventType] = field(default_factory=list)
    cancel_after: float | None = None
    cancel_at: datetime | None = None
    filename: str | None = None
    usage: Usage | None = None
    consent: dict[str, Any] | None = None  # of the person, when the job was accepted
    partner_consent: dict[str, Any] | None = None  # of the second person, if there is one
    stage: str = ""
    progress: float = 0.0
    stages: list[Stage] = field(default_factory=list)
    seconds_left: float | None = None  # estimate, while the job runs
    live: list[LiveOutput] = field(default_factory=list)
    position: int | None = None
    expires_at: datetime | None = None
    expired: bool = False

    @property
    def ended(self) -> bool:
        """True for a final state: succeeded, failed or canceled."""
        return self.state in FINAL


@dataclass(frozen=True)
class PersonDefaults:
    """Values of the request fields that a request leaves out."""

    steps: int
    guidance_face: float
    guidance_body: float
    diversity: float
    size: str
    quality: str | None = None


@dataclass(frozen=True)
class Person:
    """A person that the service can show. max_seconds: length of her longest clip."""

    name: str
    title: str
    licence: str
    max_seconds: float
    views: list[str]
    default_views: list[str]
    defaults: PersonDefaults
    digest: str
    picture: str | None = None  # URL, without a key
    loop: str | None = None  # URL of a silent video of some seconds
    outputs: list[str] = field(default_factory=list)  # values of `outputs` that she has
    consent: dict[str, Any] = field(default_factory=dict)  # `docs/provenance.md` has its members
    samplers: list[str] = field(default_factory=list)  # and of `sampler`
    controls: list[str] = field(default_factory=list)  # of `expressiveness` and `gestures`
    shadings: list[str] = field(default_factory=list)  # and of `shading`


@dataclass(frozen=True)
class Part:
    """One part of an upload: `bytes` bytes of the file from offset `first`."""

    number: int
    first: int
    bytes: int
    url: str


@dataclass(frozen=True)
class Upload:
    """A large clip, sent in parts. state: open, then ready."""

    id: str
    state: Literal["open", "ready"]
    bytes: int
    created_at: datetime
    expires_at: datetime
    clip_seconds: float | None
    parts: list[Part]


@dataclass(frozen=True)
class BatchItem:
    """One job of a batch. place: position in the batch, from 1."""

    place: int
    job: str
    state: State
    error: Failure | None


@dataclass(frozen=True)
class Counts:
    """Number of jobs in each state."""

    succeeded: int
    failed: int
    canceled: int
    queued: int
    running: int
    deleted: int


@dataclass(frozen=True)
class Batch:
    """Jobs that were submitted in one request."""

    id: str
    tenant: str
    created_at: datetime
    size: int
    ended: bool
    counts: Counts
    items: list[BatchItem]


@dataclass(frozen=True)
class Try:
    """One try to send a delivery. status: None without an answer."""

    at: datetime
    status: int | None
    milliseconds: float
    error: str | None


@dataclass(frozen=True)
class Delivery:
    """One webhook event for one URL."""

    id: str
    type: str
    state: Literal["pending", "delivered", "failed"]
    url: str
    created_at: datetime
    next_try_at: datetime | None
    tries: list[Try]
