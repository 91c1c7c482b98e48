"""Errors of the client: one hierarchy below `VisavisError`."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from visavis.models import JobFields


class VisavisError(Exception):
    """Base of every error that this package raises on purpose."""


class APIError(VisavisError):
    """A request did not succeed."""


class APIConnectionError(APIError):
    """The service could not be reached, or the connection was cut, also after all retries."""


class APITimeoutError(APIConnectionError):
    """No answer came within `timeout`, also after all retries."""


class APIStatusError(APIError):
    """The service answered with an error (RFC 9457).

    status: of the answer. code: stable name of the problem. detail: problem, value and fix.
    errors: one entry with `field` and `detail` for each invalid field. incident: of an internal
    error, for the operator. request_id: of the answer, for the operator. retry_after: seconds that
    the service asks to wait. tries: requests that were sent. body: the whole problem. response: of
    httpx.
    """

    def __init__(self, response: httpx.Response) -> None:
        body = _problem_of(response)
        self.response = response
        self.status = response.status_code
        self.body: dict[str, Any] = body
        self.code = str(body.get("code", ""))
        self.detail = str(body.get("detail") or response.reason_phrase or "no reason given")
        self.errors: list[dict[str, str]] = body.get("errors") or []
        self.incident: str | None = body.get("incident")
        self.request_id: str | None = response.headers.get("x-request-id")
        self.retry_after = retry_after(response)
        self.tries = 1
        super().__init__(f"{self.status} {self.code}: {self.detail}".replace(" : ", ": "))

    @property
    def hint(self) -> str:
        """The fix: the part of `detail` after its last semicolon, else empty."""
        return self.detail.rpartition("; ")[2] if "; " in self.detail else ""


class BadRequestError(APIStatusError):
    """400: the body could not be read."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, unknown, revoked or expired."""


class PermissionDeniedError(APIStatusError):
    """403: the key lacks a scope, or a link has expired."""


class NotFoundError(APIStatusError):
    """404, or 410 for files that were removed by age."""


class ConflictError(APIStatusError):
    """409: the state of the job, upload or idempotency key does not allow the request."""


class InvalidRequestError(APIStatusError):
    """413, 415 or 422: a field or the recording is not accepted; see `errors`."""


class RateLimitError(APIStatusError):
    """429: too many requests in a minute."""


class QuotaError(RateLimitError):
    """429: a quota of the tenant is reached.

    quota: `limit`, `used`, and the amount that was `asked` for.
    """

    @property
    def quota(self) -> dict[str, float]:
        return dict(self.body.get("quota") or {})


class ServerError(APIStatusError):
    """5xx: a fault of the service, or of a proxy before it."""


class JobError(VisavisError):
    """A job did not succeed. job: its last known state."""

    def __init__(self, message: str, job: JobFields) -> None:
        super().__init__(message)
        self.job = job


class JobEnded(JobError):
    """A job ended without success. code, detail: the reason."""

    def __init__(self, job: JobFields) -> None:
        self.code = job.error.code if job.error else job.state
        self.detail = job.error.detail if job.error else f"The job was {job.state}."
        super().__init__(f"job {job.id} {self.code}: {self.detail}", job)


class JobFailed(JobEnded):
    """The job failed."""


class JobCanceled(JobEnded):
    """The job was canceled, or did not end within its `cancel_after`."""


class WaitTimeout(JobError, TimeoutError):
    """The job has not ended within the `timeout` of `wait`; it runs on."""

    def __init__(self, job: JobFields, seconds: float) -> None:
        super().__init__(f"job {job.id} is {job.state} after {seconds:g} s", job)


class UploadError(VisavisError):
    """A file could not be sent in parts. upload_id: continue with `uploads.resume`."""

    def __init__(self, message: str, upload_id: str) -> None:
        super().__init__(message)
        self.upload_id = upload_id


class DownloadError(VisavisError):
    """A file did not arrive with its announced size; nothing was written."""


class WebhookVerificationError(VisavisError):
    """The signature of a webhook is wrong, its time is too far away, or a header is missing."""


class BatchError(VisavisError):
    """A batch cannot run: its journal is in use, damaged, or belongs to another version."""


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of `Retry-After`, a number or an HTTP date; None without a valid one."""
    text = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _problem_of(response: httpx.Response) -> dict[str, Any]:
    """Return the body of an error; empty unless it is JSON, as for the page of a proxy."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
