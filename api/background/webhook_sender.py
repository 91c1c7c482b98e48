"""Webhook sender: every API process sends due deliveries, many at the same time."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.model import utc_now
from jobs.outbound.http_client import OutboundError, sentence_of
from jobs.telemetry import outages, traces
from jobs.telemetry.trace_context import current_trace
from jobs.telemetry.traces import Kind, span
from jobs.webhooks.outbox import GONE, Try
from jobs.webhooks.signing import signed_headers, webhook_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from api.dependencies import Services
    from jobs.model import Clock
    from jobs.outbound.http_client import Response
    from jobs.webhooks.outbox import Delivery, Outbox

    Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[Response]]

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
MOST = 200  # concurrent deliveries of this process
GRACE_SECONDS = 2.0  # for deliveries in progress at shutdown


@dataclass(frozen=True)
class _Outcome:
    tried: Try
    retry_after: str | None = None


class WebhookSender:
    """Loop that takes due deliveries from the outbox and sends them; `sending` runs it."""

    def __init__(
        self,
        outbox: Outbox,
        post: Post,
        signing_keys: Sequence[bytes],
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._outbox = outbox
        self._post = post
        self._signing_keys = signing_keys
        self._clock = clock
        self._sending: dict[asyncio.Task[None], Delivery] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """Stop taking deliveries."""
        self._closed = True
        self._changed.set()

    async def run(self) -> None:
        """Send until `close`; deliveries in progress then have GRACE_SECONDS to end."""
        while not self._closed:
            self._changed.clear()
            try:
                more = await self.start_due()
                outages.over("database")
            except Exception as error:  # a short outage of the database must not end the sender
                outages.report(error, "cannot look for webhooks to send")
                more = False
            if not more and not self._closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._changed.wait()
        if self._sending:
            await asyncio.wait(self._sending, timeout=GRACE_SECONDS)
        for task in self._sending:
            task.cancel()  # another process sends the delivery again after REPORT_SECONDS
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def start_due(self) -> bool:
        """Start sending due deliveries; True when more may be due."""
        free = MOST - len(self._sending)
        if free < 1:
            return False
        busy = list(self._sending.values())
        taken = await asyncio.to_thread(self._outbox.take_due, most=free, busy=busy)
        for delivery in taken:
            task = asyncio.create_task(self._send(delivery))
            self._sending[task] = delivery
            task.add_done_callback(self._ended)
        return bool(taken)

    async def until_sent(self) -> None:
        """Wait for deliveries in progress."""
        await asyncio.gather(*self._sending)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._changed.set()  # another delivery to the same host may start

    async def _send(self, delivery: Delivery) -> None:
        attributes = {
            traces.METHOD: "POST",
            traces.SERVER_ADDRESS: delivery.host,
            traces.JOB: delivery.job_id,
            traces.DELIVERY: delivery.id,
        }
        with span("POST", Kind.CLIENT, parent=delivery.trace, attributes=attributes) as recorded:
            outcome = await self._try(delivery)
            if (status := outcome.tried.status) is not None:
                recorded.put(traces.STATUS, status)
            if outcome.tried.error is not None:
                recorded.fail("no_answer" if status is None else str(status))
            await self._record(delivery, outcome)

    async def _record(self, delivery: Delivery, outcome: _Outcome) -> None:
        tried = outcome.tried
        facts = {
            "job": delivery.job_id,
            "tenant": delivery.tenant,
            "delivery": delivery.id,
            "host": delivery.host,
            "status": tried.status,
            "error": tried.error,
        }
        logger.info("webhook sent" if tried.error is None else "webhook failed", extra=facts)
        try:
            await asyncio.to_thread(
                self._outbox.record, delivery, tried, retry_after=outcome.retry_after
            )
        except Exception as error:  # without a recorded result the delivery is sent again
            outages.report(error, "result of a webhook not recorded")

    async def _try(self, delivery: Delivery) -> _Outcome:
        at, start = self._clock(), time.perf_counter()
        body = delivery.body.encode("ascii")
        secrets = [webhook_secret(key, delivery.tenant) for key in self._signing_keys]
        headers = signed_headers(secrets, delivery_id=delivery.id, at=at, body=body)
        headers = {**headers, **(current_trace() or {})}
        try:
            answer = await self._post(delivery.url, body, headers)
        except OutboundError as error:
            reason = sentence_of(error)
        except Exception:
            logger.exception("error of ours while sending a webhook")
            reason = "Internal error of the sender, not caused by the receiver."
        else:
            tried = Try(at, answer.status, answer.milliseconds, _failure(answer))
            return _Outcome(tried, answer.retry_after)
        milliseconds = round(1000 * (time.perf_counter() - start), 1)
        return _Outcome(Try(at, None, milliseconds, reason))


@asynccontextmanager
async def sending(services: Services) -> AsyncIterator[None]:
    """Run a sender until the block ends; several API processes may run one at the same time."""
    keys = await asyncio.to_thread(services.settings.signing_keys)
    sender = WebhookSender(services.database.outbox, services.outbound.post, keys)
    task = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        sender.close()
        await task


def _failure(answer: Response) -> str | None:
    """The reason why the answer counts as failed; None for a success."""
    if 200 <= answer.status < 300:
        return None
    status = f"The receiver answered {answer.status}"
    if 300 <= answer.status < 400:
        return f"{status}, and redirects are not followed."
    if answer.status == GONE:
        return f"{status} Gone: no further tries."
    return f"{status}: {answer.excerpt!r}." if answer.excerpt else f"{status}."
