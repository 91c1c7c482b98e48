"""Chores that any process may do and only one does at a time; and who this database is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.tables import chores, identity

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

HOLD_SECONDS = 120  # a chore that nobody puts down in this time is anybody's again


@dataclass(frozen=True)
class PeriodicTask:
    """A part of a chore that is this process's to do now."""

    name: str
    place: str | None  # how far it was done; None at the beginning


def take(connection: Connection, name: str, now: datetime) -> PeriodicTask | None:
    """The chore, when it is due and nobody is at it."""
    connection.execute(_first_time(connection, name, now))
    this = chores.c.name == name
    due = sa.select(chores.c.place).where(this, chores.c.due_at <= now)
    row = connection.execute(due.with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    held = {"due_at": now + timedelta(seconds=HOLD_SECONDS)}
    connection.execute(chores.update().where(this).values(held))
    return PeriodicTask(name, row.place)


def release_task(
    connection: Connection, chore: PeriodicTask, place: str | None, due_at: datetime
) -> None:
    """How far the chore is, unless somebody else went on meanwhile; None: it begins again."""
    same = sa.and_(chores.c.name == chore.name, chores.c.place.is_not_distinct_from(chore.place))
    connection.execute(chores.update().where(same).values({"place": place, "due_at": due_at}))


def identity_of(connection: Connection) -> str:
    """A word that this database and no other has."""
    ids = sa.select(identity.c.id).order_by(identity.c.id).limit(1)
    known = connection.execute(ids).scalar()
    if known is not None:
        return str(known)
    connection.execute(identity.insert().values(id=uuid.uuid4().hex))
    return str(connection.execute(ids).scalar())  # of two that were made at once, the first


def _first_time(connection: Connection, name: str, now: datetime) -> sa.Insert:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    row = {"name": name, "due_at": now, "place": None}
    return insert(chores).values(row).on_conflict_do_nothing()
