"""Client of the visavis service: audio of a conversation in, video of the person out."""

import sys
from types import ModuleType

if "httpx" not in sys.modules:
    # Where rich and click are installed, httpx imports them for a command of its package, which
    # takes longer than all else. An empty module makes it leave out that command.
    sys.modules["httpx._main"] = ModuleType("httpx._main")
    import httpx  # noqa: F401

    del sys.modules["httpx._main"]

from visavis.batch.items import BatchOptions
from visavis.batch.plan import BatchInput
from visavis.batch.report import BatchProgress, BatchReport, BatchResult
from visavis.client import AsyncClient, Client, ClientOptions
from visavis.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ConflictError,
    DownloadError,
    InvalidRequestError,
    JobCanceled,
    JobEnded,
    JobError,
    JobFailed,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServerError,
    UploadError,
    VisavisError,
    WaitTimeout,
    WebhookVerificationError,
)
from visavis.jobs.handles import (
    AsyncJob,
    AsyncOutput,
    AsyncTake,
    ClipWarning,
    Job,
    Output,
    Take,
)
from visavis.models import (
    Batch,
    BatchItem,
    Counts,
    Delivery,
    Failure,
    JobFields,
    JobWarning,
    OutputFields,
    Part,
    Person,
    PersonDefaults,
    Stage,
    State,
    Try,
    Upload,
    WebhookEventType,
)
from visavis.raw import RawResponse
from visavis.request import BatchEntry, JobFilter, RenderFields, RequestFields
from visavis.webhooks import WebhookEvent, Webhooks

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncJob",
    "AsyncOutput",
    "AsyncTake",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchEntry",
    "BatchError",
    "BatchInput",
    "BatchItem",
    "BatchOptions",
    "BatchProgress",
    "BatchReport",
    "BatchResult",
    "Client",
    "ClientOptions",
    "ClipWarning",
    "ConflictError",
    "Counts",
    "Delivery",
    "DownloadError",
    "Failure",
    "InvalidRequestError",
    "Job",
    "JobCanceled",
    "JobEnded",
    "JobError",
    "JobFailed",
    "JobFields",
    "JobFilter",
    "JobWarning",
    "NotFoundError",
    "Output",
    "OutputFields",
    "Part",
    "PermissionDeniedError",
    "Person",
    "PersonDefaults",
    "QuotaError",
    "RateLimitError",
    "RawResponse",
    "RenderFields",
    "RequestFields",
    "ServerError",
    "Stage",
    "State",
    "Take",
    "Try",
    "Upload",
    "UploadError",
    "VisavisError",
    "WaitTimeout",
    "WebhookEvent",
    "WebhookEventType",
    "WebhookVerificationError",
    "Webhooks",
]
