"""What a tenant may use, and what it uses: jobs in flight, seconds of sound a day, stored bytes.

The settings say what holds for everybody, a row of `tenants` what holds for one. Whoever submits
locks that row first, so of two submissions at once the second counts the first.
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
    """How much of each a tenant may have; 0 is no limit."""

    jobs_in_flight: int = 0  # queued or running at a time
    seconds_a_day: float = 0.0  # of clips that were accepted, from midnight to midnight in UTC
    stored_bytes: int = 0  # of clips and outputs


@dataclass(frozen=True)
class Usage:
    """How much of each a tenant has."""

    jobs_in_flight: int
    seconds_today: float
    stored_bytes: int


@dataclass(frozen=True)
class Tenant:
    """A tenant, what it may, and what it has."""

    name: str
    own: Mapping[str, float]  # what was set for it alone, by the names of `Quota`
    quota: Quota  # what holds for it
    usage: Usage


class QuotaExceeded(Exception):
    """What was asked for would be more than the tenant may have."""

    def __init__(self, what: str, limit: float, used: float, asked: float) -> None:
        super().__init__(f"{what}: {asked:g} more than {used:g} of {limit:g}")
        self.what = what  # a name of `Quota`
        self.limit = limit
        self.used = used  # without what was asked for
        self.asked = asked
        self.again_in: timedelta | None = None  # None: not by waiting alone


def default_quota(settings: Settings) -> Quota:
    """What holds for every tenant that has nothing of its own."""
    return Quota(
        jobs_in_flight=settings.quota_jobs_in_flight,
        seconds_a_day=settings.quota_seconds_a_day,
        stored_bytes=settings.quota_stored_bytes,
    )


def hold_to_quota(connection: Connection, tenant: str, default: Quota) -> Quota:
    """What holds for this tenant; it is locked until the transaction ends."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    mine = dialect.insert(tenants).values(name=tenant)
    locked = mine.on_conflict_do_update(
        index_elements=["name"], set_={"name": mine.excluded.name}
    ).returning(*(tenants.c[each.name] for each in fields(Quota)))
    return _merged(connection.execute(locked).one()._mapping, default)


def check_jobs(connection: Connection, tenant: str, quota: Quota, added: int) -> None:
    """QuotaExceeded where the tenant's jobs in flight, `added` counted already, are too many."""
    if not quota.jobs_in_flight:
        return
    count = _in_flight(connection, tenant)
    if count > quota.jobs_in_flight:
        raise QuotaExceeded("jobs_in_flight", quota.jobs_in_flight, count - added, added)


def check_bytes(connection: Connection, tenant: str, quota: Quota, added: int) -> None:
    """QuotaExceeded where what is stored, with `added` counted already, is too much."""
    if not quota.stored_bytes:
        return
    stored = _stored(connection, tenant)
    if stored > quota.stored_bytes:
        raise QuotaExceeded("stored_bytes", quota.stored_bytes, stored - added, added)


def charge_seconds(
    connection: Connection, tenant: str, quota: Quota, seconds: float, now: datetime
) -> None:
    """Count the seconds of a clip. QuotaExceeded where there are not so many left today."""
    this = tenants.c.name == tenant
    row = connection.execute(sa.select(tenants).where(this)).one()
    used = row.seconds_of_day if row.day == now.date() else 0.0
    limit = quota.seconds_a_day
    if limit and used + seconds > limit:
        refusal = QuotaExceeded("seconds_a_day", limit, used, seconds)
        refusal.again_in = None if seconds > limit else _midnight(now) - now
        raise refusal
    counted = {"day": now.date(), "seconds_of_day": used + seconds}
    connection.execute(tenants.update().where(this).values(counted))


class TenantStore:
    """Reads what tenants use, and sets what they may."""

    def __init__(self, engine: Engine, default: Quota) -> None:
        self._engine = engine
        self._default = default

    def set_own(self, name: str, own: Mapping[str, float | None]) -> None:
        """What holds for this tenant alone, by the names of `Quota`; None: as for everybody."""
        with writing(self._engine) as connection:
            hold_to_quota(connection, name, self._default)
            if own:
                connection.execute(tenants.update().where(tenants.c.name == name).values(own))

    def all(self, today: date) -> list[Tenant]:
        """Every tenant that has sent a job or has something of its own."""
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
    mine = sa.and_(jobs.c.state.in_(IN_FLIGHT), jobs.c.tenant == tenant)
    return connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()


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
