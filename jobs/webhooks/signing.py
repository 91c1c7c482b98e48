"""What a webhook says and how it is signed: https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from jobs.model import LOCAL, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobs.model import Job

TYPES = {
    State.SUCCEEDED: "job.succeeded",
    State.FAILED: "job.failed",
    State.CANCELED: "job.canceled",
}
PREFIX = "whsec_"
PURPOSE = b"visavis webhook secret of "  # the signing secret signs links, too


def event_body(job: Job, now: datetime) -> str:
    """The event of a job that has ended, as it is sent, in ASCII: every try sends the same."""
    event = {"type": TYPES[job.state], "timestamp": now, "data": described(job)}
    return to_json(event, ensure_ascii=True).decode("ascii")


def described(job: Job) -> dict[str, Any]:
    """The job as GET /jobs/{id} shows it, without how far it is, how long it stays, and signed
    links: a webhook may come later than they hold."""
    error = {"code": job.error_code or "failed", "detail": job.error_detail or ""}
    return {
        "id": job.id,
        "tenant": job.tenant,
        "state": job.state,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "clip_seconds": job.clip_seconds,
        "priority": job.priority,
        "metadata": dict(job.metadata),
        "batch": job.batch_id,
        "callback_url": job.callback_url,
        "request": job.request,
        "outputs": [
            {
                "name": output.name,
                "content_type": output.content_type,
                "bytes": output.bytes,
                "path": f"/jobs/{job.id}/outputs/{output.name}",
            }
            for output in job.outputs
        ],
        "error": error if job.state is State.FAILED else None,
    }


def webhook_secret(signing_key: bytes, tenant: str = LOCAL) -> str:
    """What a tenant verifies webhooks with. It is derived, so nothing has to be kept."""
    secret = hmac.digest(signing_key, PURPOSE + tenant.encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(secret).decode("ascii")


def signed_headers(
    secrets: Sequence[str], *, delivery_id: str, at: datetime, body: bytes
) -> dict[str, str]:
    """The headers of one try; a signature for each secret, and one that fits is enough."""
    seconds = str(int(at.timestamp()))
    message = f"{delivery_id}.{seconds}.".encode("ascii") + body
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(_signature(secret, message) for secret in secrets),
    }


def _signature(secret: str, message: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode("ascii")
