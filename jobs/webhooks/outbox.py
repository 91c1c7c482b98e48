"""The outbox: what callback URLs have to be told, written with what it tells of.

A delivery is one event for one URL. Whoever sends it holds it for a while, as its next try; when
nothing is heard of that try, it is anybody's again. So an event is told at least once, and its id
stays the same, for the receiver to know one that comes twice.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pydantic_core import to_jsonable_python

from jobs.db.engine import reading, writing
from jobs.db.tables import deliveries
from jobs.model import new_job_id, utc_now
from jobs.webhooks.signing import TYPES, event_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

    from jobs.model import Clock, Job

# The pauses after the tries that failed, in seconds: eight, over a day.
PAUSES = (10, 60, 300, 900, 3600, 10_800, 21_600, 43_200)
JITTER = 0.2  # of a pause, up or down: those that failed together come back apart
LONGEST_WISH = PAUSES[-1]  # of what `Retry-After` may put off
GONE = 410
KEPT_TRIES = 30  # in the log
PER_HOST = 4  # at the same time: one that stalls takes no more places
PER_TENANT = 50  # nor does a tenant with many of them
AT_ONCE = 20  # in one transaction


class DeliveryMissing(LookupError):
    """The job has no such delivery."""

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"there is no delivery {delivery_id}")
        self.delivery_id = delivery_id


class DeliveryState(StrEnum):
    """pending -> delivered | failed; `redeliver` makes it pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Try:
    """One sending, and what came of it."""

    at: datetime
    status: int | None  # of the answer; None where there was none
    milliseconds: float
    error: str | None  # why it counts as failed


@dataclass(frozen=True)
class Delivery:
    """One row, as it was when it was read."""

    id: str
    job_id: str
    tenant: str  # whose secret signs it
    type: str
    created_at: datetime
    url: str
    host: str
    body: str
    state: DeliveryState
    due_at: datetime | None
    tries: int  # that were begun; what a sender writes carries it
    max_tries: int
    log: tuple[Mapping[str, Any], ...]  # the latest tries, oldest first, as JSON


def note_end(connection: Connection, job: Job, now: datetime) -> None:
    """Remember to tell that the job has ended, where somebody wants to be told."""
    if job.callback_url is None:
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
        "max_tries": len(PAUSES) + 1,
        "log": [],
    }
    connection.execute(deliveries.insert().values(row))


def _host_of(url: str) -> str:
    """The host of a URL that was checked; of anything else something, so that the job can end."""
    authority = url.partition("://")[2].partition("/")[0]
    return re.sub(r":[0-9]+$", "", authority)[:255]


class Outbox:
    """Hands deliveries to senders, and keeps what became of them."""

    def __init__(
        self,
        engine: Engine,
        *,
        hold_seconds: float = 60.0,
        clock: Clock = utc_now,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """hold_seconds: a try of which nothing was heard for so long is given up."""
        self._engine = engine
        self._hold = timedelta(seconds=hold_seconds)
        self._clock = clock
        self._draw = draw

    def take_due(self, *, most: int, busy: Iterable[Delivery] = ()) -> list[Delivery]:
        """Deliveries to send now, each to nobody else.

        busy: those that the caller is sending; with them no host gets more than `PER_HOST` and no
        tenant more than `PER_TENANT`, so that one that stalls keeps nobody else waiting.
        """
        taken: list[Delivery] = []
        places, now = _Places(busy), self._clock()
        with reading(self._engine) as connection:  # mostly there is none, and nothing to lock
            if connection.execute(_next_due(now, places)).first() is None:
                return taken
        with writing(self._engine) as connection:
            while len(taken) < min(most, AT_ONCE):
                free = _next_due(now, places).with_for_update(skip_locked=True)
                row = connection.execute(free).mappings().first()
                if row is None:
                    break
                if (delivery := self._take(connection, row, now)) is not None:
                    taken.append(delivery)
                    places.take(delivery)
        return taken

    def record(self, delivery: Delivery, tried: Try, *, retry_after: str | None = None) -> bool:
        """Write down what became of a try. False where somebody else has it by now."""
        this = sa.and_(deliveries.c.id == delivery.id, deliveries.c.tries == delivery.tries)
        with writing(self._engine) as connection:
            found = sa.select(deliveries).where(this).with_for_update()
            row = connection.execute(found).mappings().first()
            if row is None:
                return False
            log = [*row["log"], to_jsonable_python(asdict(tried))][-KEPT_TRIES:]
            values = {"log": log} | self._follows(row, tried, retry_after)
            connection.execute(deliveries.update().where(this).values(values))
            return True

    def of_job(self, job_id: str) -> list[Delivery]:
        """What had to be told of a job, oldest first."""
        with reading(self._engine) as connection:
            return _read(connection, deliveries.c.job_id == job_id)

    def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        """Send it again now, with as many tries as a new one has.

        DeliveryMissing where there is none.
        """
        now = self._clock()
        this = sa.and_(deliveries.c.id == delivery_id, deliveries.c.job_id == job_id)
        again = {
            "state": DeliveryState.PENDING,
            "due_at": now,
            "max_tries": deliveries.c.tries + len(PAUSES) + 1,
        }
        with writing(self._engine) as connection:
            if connection.execute(deliveries.update().where(this).values(again)).rowcount != 1:
                raise DeliveryMissing(delivery_id)
            return _read(connection, this)[0]

    def _take(self, connection: Connection, row: RowMapping, now: datetime) -> Delivery | None:
        """The next try; None where the last one was begun, and nothing was heard of it."""
        held: dict[str, Any] = {"due_at": now + self._hold, "tries": row["tries"] + 1}
        if over := row["tries"] >= row["max_tries"]:
            held = {"state": DeliveryState.FAILED, "due_at": None}
        this = deliveries.c.id == row["id"]
        connection.execute(deliveries.update().where(this).values(held))
        return None if over else _delivery({**row, **held})

    def _follows(self, row: RowMapping, tried: Try, retry_after: str | None) -> dict[str, Any]:
        if tried.error is None:
            return {"state": DeliveryState.DELIVERED, "due_at": None}
        left = row["max_tries"] - row["tries"]
        if tried.status == GONE or left < 1:
            return {"state": DeliveryState.FAILED, "due_at": None}
        now = self._clock()
        seconds = pause_seconds(left, drawn=self._draw(), retry_after=retry_after, now=now)
        return {"due_at": now + timedelta(seconds=seconds)}


def pause_seconds(left: int, *, drawn: float, retry_after: str | None, now: datetime) -> float:
    """How long to wait before the next of the `left` tries; `drawn` is from 0..1."""
    pause = PAUSES[-min(left, len(PAUSES))] * (1 + JITTER * (2 * drawn - 1))
    return max(pause, min(_wish(retry_after, now), LONGEST_WISH))


def _wish(retry_after: str | None, now: datetime) -> float:
    """Seconds of a Retry-After, which is a number or a date; 0 where it is neither."""
    written = (retry_after or "").strip()
    if written.isascii() and written.isdecimal():
        return float(min(int(written[:9]), LONGEST_WISH))
    try:
        return (parsedate_to_datetime(written) - now).total_seconds()
    except (TypeError, ValueError):  # no date, or one without a zone
        return 0.0


class _Places:
    """Who has as many as allowed."""

    def __init__(self, busy: Iterable[Delivery]) -> None:
        self._hosts: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        for delivery in busy:
            self.take(delivery)

    def take(self, delivery: Delivery) -> None:
        self._hosts[delivery.host] += 1
        self._tenants[delivery.tenant] += 1

    def left_for(self) -> ColumnElement[bool]:
        """The deliveries that may still be taken."""
        hosts = [host for host, count in self._hosts.items() if count >= PER_HOST]
        tenants = [tenant for tenant, count in self._tenants.items() if count >= PER_TENANT]
        return sa.and_(deliveries.c.host.not_in(hosts), deliveries.c.tenant.not_in(tenants))


def _next_due(now: datetime, places: _Places) -> sa.Select[tuple[Any, ...]]:
    return (
        sa.select(deliveries)
        .where(deliveries.c.due_at <= now, places.left_for())
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(1)
    )


def _read(connection: Connection, which: ColumnElement[bool]) -> list[Delivery]:
    found = sa.select(deliveries).where(which).order_by(deliveries.c.created_at, deliveries.c.id)
    return [_delivery({**row}) for row in connection.execute(found).mappings()]


def _delivery(row: dict[str, Any]) -> Delivery:
    changed = {"state": DeliveryState(row["state"]), "log": tuple(row["log"])}
    return Delivery(**row | changed)
