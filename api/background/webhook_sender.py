"""The sender of webhooks: every API process sends those that are due, many at once."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.model import utc_now
from jobs.outbound.http_client import OutboundError, sentence_of
from jobs.webhooks.outbox import GONE, Try
from jobs.webhooks.signing import signed_headers, webhook_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from api.dependencies import Services
    from jobs.model import Clock
    from jobs.outbound.http_client import Answer
    from jobs.webhooks.outbox import Delivery, Outbox

    Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[Answer]]

logger = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
MOST = 200  # at the same time, in this process
LEAVE_SECONDS = 2.0  # for those under way when the API is asked to leave


@dataclass(frozen=True)
class _Outcome:
    tried: Try
    retry_after: str | None = None


class Sender:
    """Takes deliveries from the outbox and sends them; `sending` runs it."""

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
        self._over = False

    def close(self) -> None:
        """Take no more."""
        self._over = True
        self._changed.set()

    async def run(self) -> None:
        """Send until closed; those that are under way then have a moment to end."""
        while not self._over:
            self._changed.clear()
            try:
                more = await self.start_due()
            except Exception:  # the database is away for a moment: the sender outlives that
                logger.exception("cannot look for webhooks to send")
                more = False
            if not more and not self._over:
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_SECONDS):
                        await self._changed.wait()
        if self._sending:
            await asyncio.wait(self._sending, timeout=LEAVE_SECONDS)
        for task in self._sending:
            task.cancel()  # what it held is sent again by whoever finds it
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def start_due(self) -> bool:
        """Begin to send what is due; whether there may be more of it."""
        room = MOST - len(self._sending)
        if room < 1:
            return False
        busy = list(self._sending.values())
        taken = await asyncio.to_thread(self._outbox.take_due, most=room, busy=busy)
        for delivery in taken:
            task = asyncio.create_task(self._send(delivery))
            self._sending[task] = delivery
            task.add_done_callback(self._ended)
        return bool(taken)

    async def until_sent(self) -> None:
        """Wait for those that are under way."""
        await asyncio.gather(*self._sending)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._changed.set()  # there is room, and another for the same host may wait for it

    async def _send(self, delivery: Delivery) -> None:
        outcome = await self._try(delivery)
        tried = outcome.tried
        facts = {
            "job": delivery.job_id,
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
        except Exception:  # the database is away for a moment: it will be sent again
            logger.exception("cannot write down what became of a webhook")

    async def _try(self, delivery: Delivery) -> _Outcome:
        at, began = self._clock(), time.perf_counter()
        body = delivery.body.encode("ascii")
        secrets = [webhook_secret(key, delivery.tenant) for key in self._signing_keys]
        headers = signed_headers(secrets, delivery_id=delivery.id, at=at, body=body)
        try:
            answer = await self._post(delivery.url, body, headers)
        except OutboundError as error:
            sentence = sentence_of(error)
        except Exception:
            logger.exception("error of ours while sending a webhook")
            sentence = "Something went wrong here, not on the receiver's side."
        else:
            tried = Try(at, answer.status, answer.milliseconds, _fault(answer))
            return _Outcome(tried, answer.retry_after)
        milliseconds = round(1000 * (time.perf_counter() - began), 1)
        return _Outcome(Try(at, None, milliseconds, sentence))


@asynccontextmanager
async def sending(services: Services) -> AsyncIterator[None]:
    """Send for as long as the block lasts; every API process does, and they do not disturb."""
    keys = await asyncio.to_thread(services.settings.signing_keys)
    sender = Sender(services.database.outbox, services.outbound.post, keys)
    task = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        sender.close()
        await task


def _fault(answer: Answer) -> str | None:
    """Why the answer counts as a failure; None where it is none."""
    if 200 <= answer.status < 300:
        return None
    told = f"The receiver answered {answer.status}"
    if 300 <= answer.status < 400:
        return f"{told}, and redirects are not followed."
    if answer.status == GONE:
        return f"{told} Gone: it is not asked again."
    return f"{told}: {answer.excerpt!r}." if answer.excerpt else f"{told}."
