"""Parameters and response headers that several routes declare."""

from typing import Annotated, TypeVar

from fastapi import Header, Path

from api.problems import Problem
from jobs.request.fields.job import JobFields
from jobs.request.values import CancelAfter

RETRY_SECONDS = "1"
Requested = TypeVar("Requested", bound=JobFields)
STORABLE = r"^[^\x00]*$"  # PostgreSQL cannot store NUL
JobId = Annotated[
    str, Path(description="Returned by POST /generate.", max_length=64, pattern=STORABLE)
]
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="1 to 255 visible ASCII characters. The same key, fields and audio give the "
        "same job; kept for 24 hours after the job has ended.",
    ),
]
CancelAfterHeader = Annotated[
    CancelAfter | None,
    Header(
        alias="Cancel-After",
        description="Seconds, as the field `cancel_after`; where the body cannot change.",
    ),
]
ACCEPTED_HEADERS = {
    "Location": {"description": "The job.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds until the first poll.", "schema": {"type": "integer"}},
    "Idempotent-Replayed": {
        "description": "true: an earlier request with this key made the job.",
        "schema": {"type": "string"},
    },
}
RETRY_LATER = {
    "Retry-After": {
        "description": "Seconds until the next poll; absent once the job has ended.",
        "schema": {"type": "integer"},
    }
}
TAGGED = {
    "ETag": {
        "description": "Identifies this response, for `If-None-Match`.",
        "schema": {"type": "string"},
    }
}
PREFERENCE_APPLIED = {
    "Preference-Applied": {
        "description": "`wait=N`, when the answer has waited as `Prefer` asked.",
        "schema": {"type": "string"},
    }
}


def with_cancel_after(request: Requested, header: float | None, *, item: str = "") -> Requested:
    """Return the request with the time of its `Cancel-After` header. item: its name in a batch.

    Raises:
        Problem: when the field has another time.
    """
    given = request.cancel_after
    if header is None or given == header:
        return request
    if given is not None:
        detail = f"is {given:g}, but the header Cancel-After is {header:g}; send one of them"
        field = f"{item}.cancel_after" if item else "cancel_after"
        errors = [{"field": field, "detail": detail}]
        raise Problem("invalid_request", f"{field}: {detail}.", errors=errors)
    return request.model_copy(update={"cancel_after": header})
