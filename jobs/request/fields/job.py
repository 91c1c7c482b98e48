"""Fields of the job itself: its place in the queue, its owner's data, its webhook."""

from __future__ import annotations

from pydantic import BaseModel

from jobs.request.declare import FieldSet, Group, request_field
from jobs.request.values import Metadata, Priority  # noqa: TC001 - pydantic reads annotations


class JobFields(BaseModel):
    """Attributes of a job, columns of its row under the same names."""

    priority: Priority = request_field(
        0,
        "Within a tenant, higher priorities run first, equal ones by age; low ones wait while "
        "higher ones are queued.",
        values="-10..10",
    )
    callback_url: str | None = request_field(
        None,
        "URL that receives a webhook when the job has ended: https, on the public internet.",
        values="`https://example.com/hook`",
    )
    metadata: Metadata = request_field(
        {},
        "Data of the caller, returned with the job: up to 16 strings of up to 256 characters, 4096 "
        'bytes in total. In a form as JSON: {"order": "17"}.',
        values='`{"order": "17"}`',
    )


FIELDS = FieldSet("job", Group.JOB, JobFields, order=30)
