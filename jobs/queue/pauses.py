"""Pauses of claims, set by operators: of all jobs, or those of a tenant, a person or a worker.

A pause is a row, so it outlives every process. Claims read it in their transaction: after a pause
no job that it covers is claimed. Running jobs go on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobs.db.conditions import shows
from jobs.db.engine import reading, writing
from jobs.db.tables import jobs, pauses
from jobs.model import State, utc_now

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Engine

    from jobs.model import Clock

LONG_AGO = timedelta(days=1)  # of a wake-up, so that the reaper sends the next one at once


class PauseScope(StrEnum):
    """The claims that a pause covers."""

    ALL = "all"
    TENANT = "tenant"
    PERSON = "person"
    WORKER = "worker"  # a worker by its name, or all workers of a host


@dataclass(frozen=True)
class PauseTarget:
    """A scope and the name in it; the name is empty for `all`."""

    scope: PauseScope
    name: str = ""

    def __str__(self) -> str:
        return "all jobs" if self.scope is PauseScope.ALL else f"{self.scope} {self.name}"


@dataclass(frozen=True)
class Pause:
    """One row of the table `pauses`."""

    target: PauseTarget
    paused_at: datetime
    note: str  # the operator's reason


@dataclass(frozen=True)
class PausedClaims:
    """The pauses that concern one worker."""

    everything: bool = False  # the worker claims nothing
    people: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()


NOT_PAUSED = PausedClaims()


class PauseStore:
    """Pause rows."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def pause(self, target: PauseTarget, note: str = "") -> bool:
        """Pause claims; False when they are paused already, whose note then stays."""
        row = {
            "scope": target.scope,
            "name": target.name,
            "paused_at": self._clock(),
            "note": note,
        }
        with suppress(IntegrityError), writing(self._engine) as connection:
            connection.execute(pauses.insert().values(row))
            return True
        return False

    def resume(self, target: PauseTarget) -> bool:
        """End a pause, and let the reaper announce waiting jobs; False when it does not exist."""
        this = sa.and_(pauses.c.scope == target.scope, pauses.c.name == target.name)
        with writing(self._engine) as connection:
            ended = connection.execute(pauses.delete().where(this)).rowcount == 1
            if ended:
                connection.execute(
                    jobs.update()
                    .where(jobs.c.state == State.QUEUED)
                    .values(woken_at=self._clock() - LONG_AGO)
                )
            return ended

    def all(self) -> list[Pause]:
        """Return all pauses, the oldest first."""
        rows = sa.select(pauses).order_by(pauses.c.paused_at, pauses.c.scope, pauses.c.name)
        with reading(self._engine) as connection:
            return [
                Pause(PauseTarget(PauseScope(row.scope), row.name), row.paused_at, row.note)
                for row in connection.execute(rows)
            ]

    def covering(self, worker: str) -> PausedClaims:
        """Return the pauses that concern a worker."""
        with reading(self._engine) as connection:
            return paused_claims(connection, worker)

    def unfinished(self, target: PauseTarget, *states: State) -> int:
        """Count the jobs of the target in these states."""
        counted = sa.select(sa.func.count()).where(jobs.c.state.in_(states), covers(target))
        with reading(self._engine) as connection:
            return connection.execute(counted).scalar_one()

    def known(self, target: PauseTarget) -> bool:
        """Return whether any job names the target."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(jobs.c.id).where(covers(target)).limit(1))
            return found.first() is not None


def paused_claims(connection: Connection, worker: str) -> PausedClaims:
    """Return the pauses that concern a worker, as of this transaction."""
    found: dict[str, list[str]] = {scope: [] for scope in PauseScope}
    for scope, name in connection.execute(sa.select(pauses.c.scope, pauses.c.name)):
        found[scope].append(name)
    host, _, _ = worker.rpartition("-")
    everything = bool(found[PauseScope.ALL]) or bool(
        {worker, host}.intersection(found[PauseScope.WORKER])
    )
    return PausedClaims(
        everything, tuple(found[PauseScope.PERSON]), tuple(found[PauseScope.TENANT])
    )


def is_paused() -> ColumnElement[bool]:
    """Condition: a pause of all jobs, of its tenant or of its person keeps the job from workers.

    The query of the ScaledObject in k8s/worker has the same condition.
    """
    of_tenant = sa.and_(pauses.c.scope == PauseScope.TENANT, pauses.c.name == jobs.c.tenant)
    of_person = sa.and_(pauses.c.scope == PauseScope.PERSON, shows(pauses.c.name))
    covering = sa.or_(pauses.c.scope == PauseScope.ALL, of_tenant, of_person)
    return sa.exists().where(covering).correlate(jobs)


def covers(target: PauseTarget) -> ColumnElement[bool]:
    """Condition: the job belongs to the target."""
    if target.scope is PauseScope.TENANT:
        return jobs.c.tenant == target.name
    if target.scope is PauseScope.PERSON:
        return shows(sa.literal(target.name))
    if target.scope is PauseScope.WORKER:
        of_host = jobs.c.worker.startswith(f"{target.name}-", autoescape=True)
        return sa.or_(jobs.c.worker == target.name, of_host)
    return sa.true()
