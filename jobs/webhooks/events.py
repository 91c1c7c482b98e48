"""Events that webhooks report."""

from __future__ import annotations

from typing import Literal, get_args

WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled"]
WEBHOOK_EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent)
