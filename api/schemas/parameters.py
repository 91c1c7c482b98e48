"""Parameters and response headers that several routes declare."""

from typing import Annotated

from fastapi import Header, Path

RETRY_SECONDS = "1"
JobId = Annotated[str, Path(description="Returned by POST /generate.", max_length=64)]
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="1 to 255 visible ASCII characters. The same key, fields and audio give the "
        "same job; kept for 24 hours after the job has ended.",
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
