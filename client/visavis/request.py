"""Request fields of a job, and their encoding as a form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from typing_extensions import NotRequired

    from visavis.models import State, WebhookEventType


LISTS = ("views", "outputs", "webhook_events")


class LookFields(TypedDict, total=False):
    """Fields that the files of a job depend on, but not its motion."""

    size: str | int | None
    views: Sequence[str] | str | None
    layout: Literal["side", "files"]
    outputs: Sequence[str] | str
    format: Literal["mp4", "fmp4", "mov", "webm", "png"]
    background: str | None
    supersampling: int | None
    shading: Literal["fast", "full"]
    frame: int
    mesh_rate: float
    use: Literal["non-commercial", "commercial"] | None
    watermark: bool


class JobAttributes(TypedDict, total=False):
    """Fields of the job itself."""

    priority: int
    callback_url: str | None
    webhook_events: Sequence[WebhookEventType] | str
    cancel_after: float | None
    metadata: Mapping[str, str]


class RenderFields(LookFields, JobAttributes, total=False):
    """Fields of `Job.render`; a field that is left out keeps its value."""


class RequestFields(RenderFields, total=False):
    """Fields of a request, all optional; `docs/api.md` explains each."""

    person: str
    takes: int
    seed: int | None
    diversity: float | None
    guidance_face: float | None
    guidance_body: float | None
    steps: int | None
    quality: Literal["draft", "standard", "reference"] | None
    sampler: str | None
    guidance_until: int | None
    expressiveness: float
    gestures: float
    person_channel: Literal["left", "right"]
    both: bool
    partner_person: str | None


class BatchEntry(RequestFields):
    """One item of `client.batches.create`: the id of an upload, and request fields."""

    upload_id: str
    partner_upload_id: NotRequired[str | None]


class JobFilter(TypedDict, total=False):
    """Conditions of `client.jobs.list`. limit: jobs in each page."""

    limit: int
    state: State | Sequence[State]
    person: str
    batch: str
    tenant: str
    created_after: datetime
    created_before: datetime


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value, as JSON; words of a list may be one text."""
    values = {name: value for name, value in fields.items() if value is not None}
    for name in LISTS:
        if name in values:
            text = values[name]
            values[name] = text.split(",") if isinstance(text, str) else list(text)
    if "metadata" in values:
        values["metadata"] = dict(values["metadata"])
    return values


def as_form(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return JSON fields as texts of a form."""
    return {name: _text(value) for name, value in fields.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, dict) else str(value)
