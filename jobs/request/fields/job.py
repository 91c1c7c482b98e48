"""Fields of the job itself: its place in the queue, its owner's data, its webhook."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from jobs.request.declare import FieldSet, FormInput, Group, request_field
from jobs.request.values import (
    LONGEST_DEADLINE,
    CancelAfter,
    Metadata,
    Priority,
    WebhookEvents,
    either,
)
from jobs.webhooks.events import WEBHOOK_EVENTS


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
    webhook_events: WebhookEvents = request_field(
        WEBHOOK_EVENTS,
        f"Events that `callback_url` receives: {either(WEBHOOK_EVENTS)}, or several.",
    )
    cancel_after: CancelAfter | None = request_field(
        None,
        "Seconds from the acceptance of the job, after which it is canceled if it has not ended.",
        values=f"1..{LONGEST_DEADLINE}",
        form=FormInput("Cancel after, in seconds", placeholder="never"),
    )
    metadata: Metadata = request_field(
        {},
        "Data of the caller, returned with the job: up to 16 strings of up to 256 characters, 4096 "
        'bytes in total. In a form as JSON: {"order": "17"}.',
        values='`{"order": "17"}`',
    )

    def job_attributes(self) -> dict[str, Any]:
        """Return the attributes of the job, by the names of `jobs.model.NewJob`."""
        return {name: getattr(self, name) for name in JobFields.model_fields}


FIELDS = FieldSet("job", Group.JOB, JobFields, order=30)
