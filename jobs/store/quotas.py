"""Quotas of tenants: jobs in flight, seconds of audio per day, stored bytes.

The settings contain the default quota, a row of `tenants` the own values of one tenant. A
submission locks that row first, so the second of two concurrent submissions counts the first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jobs.db.engine import reading, writing
from jobs.db.tables import jobs, tenants, uploads
from jobs.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine, RowMapping

    from jobs.settings import Settings

IN_FLIGHT = (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Quota:
    """Limits of a tenant; 0 means unlimited."""

    jobs_in_flight: int = 0  # queued or running at a time
    seconds_a_day: float = 0.0  # of accepted clips, from midnight to midnight in UTC
    stored_bytes: int = 0  # of clips and outputs


@dataclass(frozen=True)
class Usage:
    """Current usage of a tenant."""

    jobs_in_flight: int
    seconds_today: float
    stored_bytes: int


@dataclass(frozen=True)
class Tenant:
    """A tenant with its quota and usage."""

    name: str
    own: Mapping[str, float]  # values set for this tenant, by the names of `Quota`
    quota: Quota  # own values and defaults
    usage: Usage


class QuotaExceeded(Exception):
    """The request would exceed a quota of the tenant."""

    def __init__(self, what: str, limit: float, used: float, requested: float) -> None:
        super().__init__(
            f"{what}: quota exceeded ({requested:g} requested, {used:g} of {limit:g} used)"
        )
        self.what = what  # a name of `Quota`
        self.limit = limit
        self.used = used  # without the request
        self.requested = requested
        self.again_in: timedelta | None = None  # None: waiting alone does not help


def default_quota(settings: Settings) -> Quota:
    """Return the quota of tenants without own values."""
    return Quota(
        jobs_in_flight=settings.quota_jobs_in_flight,
        seconds_a_day=settings.quota_seconds_a_day,
        stored_bytes=settings.quota_stored_bytes,
    )


def hold_to_quota(connection: Connection, tenant: str, default: Quota) -> Quota:
    """Return the tenant's quota and lock its row until the transaction ends."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = dialect.insert(tenants).values(name=tenant)
    locked = row.on_conflict_do_update(
        index_elements=["name"], set_={"name": row.excluded.name}
    ).returning(*(tenants.c[each.name] for each in fields(Quota)))
    return _merged(connection.execute(locked).one()._mapping, default)


def check_jobs(connection: Connection, tenant: str, quota: Quota, added: int) -> None:
    """Check the jobs in flight, which include `added` new ones.

    Raises: QuotaExceeded: when they are too many.
    """
    if not quota.jobs_in_flight:
        return
    count = _in_flight(connection, tenant)
    if count > quota.jobs_in_flight:
        raise QuotaExceeded("jobs_in_flight", quota.jobs_in_flight, count - added, added)


def check_bytes(connection: Connection, tenant: str, quota: Quota, added: int) -> None:
    """Check the stored bytes, which include `added` new ones.

    Raises: QuotaExceeded: when they are too many.
    """
    if not quota.stored_bytes:
        return
    stored = _stored(connection, tenant)
    if stored > quota.stored_bytes:
        raise QuotaExceeded("stored_bytes", quota.stored_bytes, stored - added, added)


def charge_seconds(
    connection: Connection, tenant: str, quota: Quota, seconds: float, now: datetime
) -> None:
    """Add the seconds of a clip to the usage of today.

    Raises: QuotaExceeded: when fewer seconds are left.
    """
    this = tenants.c.name == tenant
    row = connection.execute(sa.select(tenants).where(this)).one()
    used = row.seconds_of_day if row.day == now.date() else 0.0
    limit = quota.seconds_a_day
    if limit and used + seconds > limit:
        exceeded = QuotaExceeded("seconds_a_day", limit, used, seconds)
        exceeded.again_in = None if seconds > limit else _midnight(now) - now
        raise exceeded
    counted = {"day": now.date(), "seconds_of_day": used + seconds}
    connection.execute(tenants.update().where(this).values(counted))


class TenantStore:
    """Tenant rows: own quota values, and usage."""

    def __init__(self, engine: Engine, default: Quota) -> None:
        self._engine = engine
        self._default = default

    def set_own(self, name: str, own: Mapping[str, float | None]) -> None:
        """Set own values of the tenant, by the names of `Quota`; None restores the default."""
        with writing(self._engine) as connection:
            hold_to_quota(connection, name, self._default)
            if own:
                connection.execute(tenants.update().where(tenants.c.name == name).values(own))

    def all(self, today: date) -> list[Tenant]:
        """Return every tenant that has submitted a job or has own values."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(tenants).order_by(tenants.c.name)).all()
            return [self._tenant(connection, row, today) for row in rows]

    def _tenant(
        self, connection: Connection, row: sa.Row[tuple[object, ...]], today: date
    ) -> Tenant:
        values = row._mapping
        names = [each.name for each in fields(Quota)]
        usage = Usage(
            jobs_in_flight=_in_flight(connection, values["name"]),
            seconds_today=values["seconds_of_day"] if values["day"] == today else 0.0,
            stored_bytes=_stored(connection, values["name"]),
        )
        own = {name: values[name] for name in names if values[name] is not None}
        return Tenant(values["name"], own, _merged(values, self._default), usage)


def _merged(row: RowMapping, default: Quota) -> Quota:
    own = {each.name: row[each.name] for each in fields(Quota) if row[each.name] is not None}
    return replace(default, **own)


def _in_flight(connection: Connection, tenant: str) -> int:
    in_flight = sa.and_(jobs.c.state.in_(IN_FLIGHT), jobs.c.tenant == tenant)
    return connection.execute(sa.select(sa.func.count()).where(in_flight)).scalar_one()


def _stored(connection: Connection, tenant: str) -> int:
    of_jobs = sa.select(sa.func.sum(jobs.c.input_bytes + jobs.c.output_bytes))
    of_uploads = sa.select(sa.func.sum(uploads.c.bytes))
    return sum(
        int(connection.execute(each).scalar() or 0)
        for each in (
            of_jobs.where(jobs.c.tenant == tenant),
            of_uploads.where(uploads.c.tenant == tenant),
        )
    )


def _midnight(now: datetime) -> datetime:
    return datetime.combine(now.date() + timedelta(days=1), time(), tzinfo=UTC)
