"""Webhooks in the OpenAPI document: the events of ended jobs, as jobs/webhooks sends them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads annotations
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, create_model

from api.problems import REFERENCE
from api.schemas.example import job_example
from api.schemas.generate import JSON
from api.schemas.jobs import JobView, OutputView
from jobs.webhooks.signing import TYPES

# Members of a job that its events do not have; links may have expired when an event arrives.
OMITTED = {
    "stage", "progress", "stages", "seconds_left", "live", "position", "expires_at", "expired",
    "consent", "partner_consent",
}  # fmt: skip
OMITTED_OF_OUTPUTS = {"url"}

if TYPE_CHECKING:
    from jobs.model import State

    EventType = str
    EventOutput = BaseModel
    EventJob = BaseModel
else:
    EventType = Literal[tuple(TYPES.values())]

    def _without(model, name, help, omitted, **changed):
        fields = {
            field: changed.get(field, (info.annotation, info))
            for field, info in model.model_fields.items()
            if field not in omitted
        }
        return create_model(name, __doc__=help, __module__=__name__, **fields)

    EventOutput = _without(OutputView, "EventOutput", "One output file.", OMITTED_OF_OUTPUTS)
    EventJob = _without(
        JobView, "EventJob", "An ended job.", OMITTED, outputs=(list[EventOutput], ...)
    )


class JobEvent(BaseModel):
    """Body of a webhook."""

    type: EventType
    timestamp: datetime = Field(description="Time of the event.")
    data: EventJob = Field(
        description="The job as in GET /jobs/{id}, without progress, expiry and signed links."
    )


HEADERS = {
    "webhook-id": "Identifies the event; the same in every try, so receivers drop repeats by it.",
    "webhook-timestamp": "Time of this try, in Unix seconds.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64; several are "
    "separated by a space while a secret is being changed. See https://www.standardwebhooks.com.",
}
ANSWERS = {
    "2XX": {"description": "Received. Any other answer is a failure, and the event is sent again."},
    "410": {"description": "The receiver is gone: the event is not sent again."},
}


def described_webhooks() -> dict[str, Any]:
    """The member `webhooks` of the document."""
    return {
        event: {
            "post": {
                "operationId": event.replace("job.", "job_"),
                "tags": ["webhooks"],
                "summary": f"A job ended as {state}",
                "description": "Sent to the `callback_url` of the job until it is received.",
                "security": [],
                "parameters": [
                    {
                        "name": name,
                        "in": "header",
                        "required": True,
                        "description": text,
                        "schema": {"type": "string"},
                    }
                    for name, text in HEADERS.items()
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        JSON: {
                            "schema": {"$ref": REFERENCE.format(model="JobEvent")},
                            "example": _example(event, state),
                        }
                    },
                },
                "responses": ANSWERS,
            }
        }
        for state, event in TYPES.items()
    }


def _example(event: str, state: State) -> dict[str, Any]:
    outputs = {"__all__": OMITTED_OF_OUTPUTS}
    data = job_example(state).model_dump(
        mode="json", exclude={**dict.fromkeys(OMITTED, True), "outputs": outputs}
    )
    return {"type": event, "timestamp": data["finished_at"], "data": data}
