"""Verification of webhooks, after https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from visavis.core.decode import parsed
from visavis.errors import APIError, WebhookVerificationError
from visavis.models import JobFields, OutputFields, WebhookEventType

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "whsec_"
VERSION = "v1,"
OLDEST_SECONDS = 300.0  # also the furthest time in the future, for clocks that differ


@dataclass(frozen=True)
class WebhookEvent:
    """One event. id: the same for every try, so that a repeated event can be ignored."""

    id: str
    type: WebhookEventType
    timestamp: datetime
    job: JobFields
    outputs: list[OutputFields]
    data: dict[str, Any]  # the job, as JSON


class Webhooks:
    """Webhooks that the service sends to `callback_url`."""

    def unwrap(
        self,
        body: bytes | str,
        headers: Mapping[str, str],
        secret: str,
        *,
        oldest_seconds: float = OLDEST_SECONDS,
    ) -> WebhookEvent:
        """Verify a webhook and return its event.

        body: raw, as it was received. headers: of the request; names in any case.
        secret: `whsec_...`, from the operator.

        Raises:
            WebhookVerificationError: when no signature is right, the event is older than
                `oldest_seconds`, or a header is missing.
        """
        content = body.encode() if isinstance(body, str) else bytes(body)
        given = {name.lower(): value for name, value in headers.items()}
        try:
            event_id, sent_at = given["webhook-id"], given["webhook-timestamp"]
            signatures = given["webhook-signature"].split()
        except KeyError as error:
            raise WebhookVerificationError(f"the header {error.args[0]} is missing") from None
        _check_age(sent_at, oldest_seconds)
        expected = _signature(f"{event_id}.{sent_at}.".encode() + content, secret)
        # All are compared, so that the time says nothing about the position of the right one.
        if not sum(hmac.compare_digest(each.encode(), expected) for each in signatures):
            raise WebhookVerificationError("no signature is right; check the secret")
        return _event(event_id, content)


def _check_age(sent_at: str, oldest_seconds: float) -> None:
    try:
        age = time.time() - int(sent_at)
    except ValueError:
        raise WebhookVerificationError(f"invalid webhook-timestamp {sent_at[:40]!r}") from None
    if abs(age) > oldest_seconds:
        raise WebhookVerificationError(
            f"the event was sent {age:.0f} s ago, and the limit is {oldest_seconds:g} s; check the "
            "clock of this machine"
        )


def _signature(message: bytes, secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise WebhookVerificationError(f"invalid secret; it starts with {PREFIX}") from None
    digest = hmac.digest(key, message, hashlib.sha256)
    return VERSION.encode() + base64.b64encode(digest)


def _event(event_id: str, content: bytes) -> WebhookEvent:
    try:
        event = json.loads(content)
        data = event["data"]
        return WebhookEvent(
            id=event_id,
            type=event["type"],
            timestamp=datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")),
            job=parsed(JobFields, data),
            outputs=[parsed(OutputFields, each) for each in data["outputs"]],
            data=data,
        )
    except (APIError, KeyError, TypeError, ValueError) as error:
        raise WebhookVerificationError(f"the body is not an event: {error!r}") from error
