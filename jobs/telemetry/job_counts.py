"""Metrics from the database: jobs by state, age of the queue, pending webhooks."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.exc import SQLAlchemyError

from jobs.db.engine import reading
from jobs.db.tables import deliveries, jobs, pauses, tenants
from jobs.model import LOCAL, State, utc_now
from jobs.queue.pauses import PauseScope, is_paused
from jobs.telemetry.metrics import (
    DATABASE_UP,
    JOBS,
    JOBS_PAUSED,
    PAUSES,
    QUEUE_OLDEST,
    WEBHOOKS_LATE,
    WEBHOOKS_PENDING,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from jobs.model import Clock
    from jobs.telemetry.metrics import Metric

logger = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
SHARE = 0.05  # of the time, at most, that one process spends on these queries

OWN_QUOTA = sa.or_(
    tenants.c.jobs_in_flight.is_not(None),
    tenants.c.seconds_a_day.is_not(None),
    tenants.c.stored_bytes.is_not(None),
)
TENANT_CLASS = sa.case(
    (jobs.c.tenant == LOCAL, "local"), (OWN_QUOTA, "custom"), else_="default"
).label("tenant_class")
WAITS_SINCE = sa.func.coalesce(jobs.c.queued_at, jobs.c.created_at)


class JobCounts:
    """Collector of these metrics; answers from a cache, so that scrapes cost little."""

    def __init__(
        self, engine: Engine, clock: Clock = utc_now, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._families: Sequence[GaugeMetricFamily] = ()
        self._fresh_until = float("-inf")

    def collect(self) -> Sequence[GaugeMetricFamily]:
        """Return the counts; without the database only `visavis_database_up`, which is 0."""
        with self._lock:
            began = self._now()
            if began >= self._fresh_until:
                self._families = self._read()
                ended = self._now()
                self._fresh_until = ended + max(FRESH_SECONDS, (ended - began) / SHARE)
            return self._families

    def _read(self) -> list[GaugeMetricFamily]:
        try:
            with reading(self._engine) as connection:
                return [*_counts(connection, self._clock()), _gauge(DATABASE_UP, 1)]
        except SQLAlchemyError as error:
            logger.warning("jobs not counted", extra={"reason": str(error)})
            return [_gauge(DATABASE_UP, 0)]


def _counts(connection: Connection, now: datetime) -> list[GaugeMetricFamily]:
    grouped = (
        sa.select(jobs.c.state, jobs.c.person, TENANT_CLASS, sa.func.count())
        .select_from(jobs.outerjoin(tenants, tenants.c.name == jobs.c.tenant))
        .group_by(jobs.c.state, jobs.c.person, TENANT_CLASS)
    )
    by_label = GaugeMetricFamily(JOBS.name, JOBS.help, labels=JOBS.labels)
    for state, person, tenant_class, number in connection.execute(grouped):
        by_label.add_metric((state, person, tenant_class), number)
    oldest = connection.execute(
        sa.select(sa.func.min(WAITS_SINCE)).where(jobs.c.state == State.QUEUED)
    ).scalar()
    pending, due = connection.execute(
        sa.select(sa.func.count(), sa.func.min(deliveries.c.due_at)).where(
            deliveries.c.due_at.is_not(None)
        )
    ).one()
    paused = sa.select(sa.func.count()).where(jobs.c.state == State.QUEUED, is_paused())
    return [
        by_label,
        _pauses(connection),
        _gauge(JOBS_PAUSED, connection.execute(paused).scalar_one()),
        _gauge(QUEUE_OLDEST, _age(oldest, now)),
        _gauge(WEBHOOKS_PENDING, pending),
        _gauge(WEBHOOKS_LATE, _age(due, now)),
    ]


def _pauses(connection: Connection) -> GaugeMetricFamily:
    rows = sa.select(pauses.c.scope, sa.func.count()).group_by(pauses.c.scope)
    number = {scope: count for scope, count in connection.execute(rows)}
    by_scope = GaugeMetricFamily(PAUSES.name, PAUSES.help, labels=PAUSES.labels)
    for scope in PauseScope:
        by_scope.add_metric((scope.value,), number.get(scope, 0))
    return by_scope


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


def _gauge(metric: Metric, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, value=value)
