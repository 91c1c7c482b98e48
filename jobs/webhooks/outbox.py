"""Webhook outbox: each delivery row is written in the transaction of the job change it reports.

A delivery is one event for one URL. A sender takes it for a while, as its next try; if the result
of the try is not recorded in time, the delivery can be taken again. So an event is sent at least
once, and its id stays the same, which lets receivers drop duplicates.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pydantic_core import to_jsonable_python

from jobs.db.engine import after_commit, reading, writing
from jobs.db.tables import deliveries
from jobs.model import new_job_id, utc_now
from jobs.telemetry.metrics import WEBHOOKS
from jobs.telemetry.prometheus import count
from jobs.webhooks.signing import TYPES, event_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

    from jobs.model import Clock, Job

# Retry delays in seconds: eight, over a day.
RETRY_DELAYS = (10, 60, 300, 900, 3600, 10_800, 21_600, 43_200)
JITTER = 0.2  # fraction of a delay, up or down; it separates deliveries that failed together
LONGEST_RETRY_AFTER = RETRY_DELAYS[-1]
GONE = 410
LOGGED_TRIES = 30
PER_HOST = 4  # concurrent tries, so a host that stalls occupies no more
PER_TENANT = 50  # concurrent tries
BATCH_SIZE = 20  # deliveries per transaction


class DeliveryMissing(LookupError):
    """The job has no such delivery."""

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"delivery not found: {delivery_id}")
        self.delivery_id = delivery_id


class DeliveryState(StrEnum):
    """States: pending -> delivered | failed; `redeliver` makes a delivery pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Try:
    """One HTTP request of a delivery, with its result."""

    at: datetime
    status: int | None  # of the response; None without one
    milliseconds: float
    error: str | None  # the reason of a failure


@dataclass(frozen=True)
class Delivery:
    """A delivery row at the time of reading."""

    id: str
    job_id: str
    tenant: str  # its secret signs the webhook
    type: str
    created_at: datetime
    url: str
    host: str
    body: str
    state: DeliveryState
    due_at: datetime | None
    tries: int  # started ones; every write of a sender carries this number
    max_tries: int
    log: tuple[Mapping[str, Any], ...]  # latest tries, oldest first, as JSON
    trace: Mapping[str, str] | None  # headers of W3C Trace Context of its job


def note_end(connection: Connection, job: Job, now: datetime) -> None:
    """Insert the delivery of an ended job, if its owner has asked for this event."""
    if job.callback_url is None or TYPES[job.state] not in job.webhook_events:
        return
    row = {
        "id": new_job_id(),
        "job_id": job.id,
        "tenant": job.tenant,
        "type": TYPES[job.state],
        "created_at": now,
        "url": job.callback_url,
        "host": _host_of(job.callback_url),
        "body": event_body(job, now),
        "state": DeliveryState.PENDING,
        "due_at": now,
        "tries": 0,
        "max_tries": len(RETRY_DELAYS) + 1,
        "log": [],
        "trace": job.trace,
    }
    connection.execute(deliveries.insert().values(row))


def _host_of(url: str) -> str:
    """Return the host of a checked URL. It never raises, so that the job can end."""
    authority = url.partition("://")[2].partition("/")[0]
    return re.sub(r":[0-9]+$", "", authority)[:255]


class Outbox:
    """Delivery rows, as senders take and record them."""

    def __init__(
        self,
        engine: Engine,
        *,
        hold_seconds: float = 60.0,
        clock: Clock = utc_now,
        random: Callable[[], float] = random.random,
    ) -> None:
        """hold_seconds: time after which a try without a recorded result is given up."""
        self._engine = engine
        self._hold = timedelta(seconds=hold_seconds)
        self._clock = clock
        self._random = random

    def take_due(self, *, most: int, busy: Iterable[Delivery] = ()) -> list[Delivery]:
        """Return deliveries to send now; other senders do not get them for a while.

        busy: deliveries that the caller is sending. Together with them no host gets more than
        `PER_HOST` and no tenant more than `PER_TENANT`, so a slow receiver does not delay others.
        """
        taken: list[Delivery] = []
        slots, now = _Slots(busy), self._clock()
        with reading(self._engine) as connection:  # usually none is due, and this takes no lock
            if connection.execute(_next_due(now, slots)).first() is None:
                return taken
        with writing(self._engine) as connection:
            while len(taken) < min(most, BATCH_SIZE):
                free = _next_due(now, slots).with_for_update(skip_locked=True)
                row = connection.execute(free).mappings().first()
                if row is None:
                    break
                if (delivery := self._take(connection, row, now)) is not None:
                    taken.append(delivery)
                    slots.take(delivery)
        return taken

    def record(self, delivery: Delivery, tried: Try, *, retry_after: str | None = None) -> bool:
        """Record the result of a try; False if another sender has taken the delivery since."""
        this = sa.and_(deliveries.c.id == delivery.id, deliveries.c.tries == delivery.tries)
        with writing(self._engine) as connection:
            locked = sa.select(deliveries).where(this).with_for_update()
            row = connection.execute(locked).mappings().first()
            if row is None:
                return False
            log = [*row["log"], to_jsonable_python(asdict(tried))][-LOGGED_TRIES:]
            values = {"log": log} | self._next_state(row, tried, retry_after)
            connection.execute(deliveries.update().where(this).values(values))
            outcome = str(values.get("state", "retrying"))
            after_commit(connection, partial(count, WEBHOOKS, outcome=outcome))
            return True

    def of_job(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a job, oldest first."""
        with reading(self._engine) as connection:
            return _read(connection, deliveries.c.job_id == job_id)

    def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        """Make a delivery due now, with as many tries as a new one.

        Raises: DeliveryMissing: when the job has no such delivery.
        """
        now = self._clock()
        this = sa.and_(deliveries.c.id == delivery_id, deliveries.c.job_id == job_id)
        again = {
            "state": DeliveryState.PENDING,
            "due_at": now,
            "max_tries": deliveries.c.tries + len(RETRY_DELAYS) + 1,
        }
        with writing(self._engine) as connection:
            if connection.execute(deliveries.update().where(this).values(again)).rowcount != 1:
                raise DeliveryMissing(delivery_id)
            return _read(connection, this)[0]

    def _take(self, connection: Connection, row: RowMapping, now: datetime) -> Delivery | None:
        """Start the next try; None if the last one has no recorded result."""
        held: dict[str, Any] = {"due_at": now + self._hold, "tries": row["tries"] + 1}
        if over := row["tries"] >= row["max_tries"]:
            held = {"state": DeliveryState.FAILED, "due_at": None}
            after_commit(connection, partial(count, WEBHOOKS, outcome="failed"))
        this = deliveries.c.id == row["id"]
        connection.execute(deliveries.update().where(this).values(held))
        return None if over else _delivery({**row, **held})

    def _next_state(self, row: RowMapping, tried: Try, retry_after: str | None) -> dict[str, Any]:
        if tried.error is None:
            return {"state": DeliveryState.DELIVERED, "due_at": None}
        left = row["max_tries"] - row["tries"]
        if tried.status == GONE or left < 1:
            return {"state": DeliveryState.FAILED, "due_at": None}
        now = self._clock()
        seconds = retry_delay(left, random=self._random(), retry_after=retry_after, now=now)
        return {"due_at": now + timedelta(seconds=seconds)}


def retry_delay(left: int, *, random: float, retry_after: str | None, now: datetime) -> float:
    """Return the seconds until the next of the `left` tries; `random` is from 0..1."""
    delay = RETRY_DELAYS[-min(left, len(RETRY_DELAYS))] * (1 + JITTER * (2 * random - 1))
    return max(delay, min(_retry_after_seconds(retry_after, now), LONGEST_RETRY_AFTER))


def _retry_after_seconds(retry_after: str | None, now: datetime) -> float:
    """Parse a Retry-After header, which is a number or a date; 0 if it is neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:9]), LONGEST_RETRY_AFTER))
    try:
        return (parsedate_to_datetime(text) - now).total_seconds()
    except (TypeError, ValueError):  # no date, or one without a zone
        return 0.0


class _Slots:
    """Numbers of concurrent tries, by host and by tenant."""

    def __init__(self, busy: Iterable[Delivery]) -> None:
        self._hosts: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        for delivery in busy:
            self.take(delivery)

    def take(self, delivery: Delivery) -> None:
        self._hosts[delivery.host] += 1
        self._tenants[delivery.tenant] += 1

    def free(self) -> ColumnElement[bool]:
        """Condition: host and tenant of the delivery have a free slot."""
        hosts = [host for host, count in self._hosts.items() if count >= PER_HOST]
        tenants = [tenant for tenant, count in self._tenants.items() if count >= PER_TENANT]
        return sa.and_(deliveries.c.host.not_in(hosts), deliveries.c.tenant.not_in(tenants))


def _next_due(now: datetime, slots: _Slots) -> sa.Select[tuple[Any, ...]]:
    return (
        sa.select(deliveries)
        .where(deliveries.c.due_at <= now, slots.free())
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(1)
    )


def _read(connection: Connection, where: ColumnElement[bool]) -> list[Delivery]:
    oldest = sa.select(deliveries).where(where).order_by(deliveries.c.created_at, deliveries.c.id)
    return [_delivery({**row}) for row in connection.execute(oldest).mappings()]


def _delivery(row: dict[str, Any]) -> Delivery:
    changed = {"state": DeliveryState(row["state"]), "log": tuple(row["log"])}
    return Delivery(**row | changed)
