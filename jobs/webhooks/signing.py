"""Body and signatures of webhooks, after https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from jobs.model import LOCAL, State
from jobs.webhooks.events import WEBHOOK_EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobs.model import Job

TYPES = {State(event.removeprefix("job.")): event for event in WEBHOOK_EVENTS}
PREFIX = "whsec_"
PURPOSE = b"visavis webhook secret of "  # the signing secret also signs links


def event_body(job: Job, now: datetime) -> str:
    """Return the event of an ended job as ASCII JSON; every try sends the same bytes."""
    event = {"type": TYPES[job.state], "timestamp": now, "data": job_data(job)}
    return to_json(event, ensure_ascii=True).decode("ascii")


def job_data(job: Job) -> dict[str, Any]:
    """Return the job as in GET /jobs/{id}, without progress, expiry and signed links.

    A webhook can arrive after the links have expired.
    """
    return {
        "id": job.id,
        "tenant": job.tenant,
        "state": job.state,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "filename": job.filename,
        "clip_seconds": job.clip_seconds,
        "priority": job.priority,
        "metadata": dict(job.metadata),
        "batch": job.batch_id,
        "callback_url": job.callback_url,
        "webhook_events": job.webhook_events,
        "cancel_after": job.cancel_after,
        "cancel_at": job.cancel_at,
        "request": job.request,
        "outputs": [
            {
                "name": output.name,
                "content_type": output.content_type,
                "bytes": output.bytes,
                "path": f"/jobs/{job.id}/outputs/{output.name}",
            }
            for output in (job.outputs if job.state is State.SUCCEEDED else ())
        ],
        "usage": None if job.usage is None else asdict(job.usage),
        "warnings": [asdict(warning) for warning in job.warnings],
        "error": None if job.error is None else asdict(job.error),
    }


def webhook_secret(signing_key: bytes, tenant: str = LOCAL) -> str:
    """Return the secret with which a tenant verifies webhooks; it is derived and not stored."""
    secret = hmac.digest(signing_key, PURPOSE + tenant.encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(secret).decode("ascii")


def signed_headers(
    secrets: Sequence[str], *, delivery_id: str, at: datetime, body: bytes
) -> dict[str, str]:
    """Return the headers of one try, with a signature per secret; receivers accept any one."""
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
