"""Periodic tasks: locks, so that one process at a time runs each of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.engine import writing
from jobs.db.tables import chores
from jobs.model import utc_now

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from jobs.model import Clock

HOLD_SECONDS = 120  # a task that is not released in this time can be acquired again


@dataclass(frozen=True)
class PeriodicTask:
    """A part of a task, acquired by this process."""

    name: str
    place: str | None  # where to continue; None: from the beginning


class PeriodicTaskStore:
    """Rows of periodic tasks."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def acquire(self, name: str) -> PeriodicTask | None:
        """Return the task when it is due and no other process holds it; None otherwise."""
        now = self._clock()
        this = chores.c.name == name
        due = sa.select(chores.c.place).where(this, chores.c.due_at <= now)
        with writing(self._engine) as connection:
            _insert_if_new(connection, name, now)
            row = connection.execute(due.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            held = {"due_at": now + timedelta(seconds=HOLD_SECONDS)}
            connection.execute(chores.update().where(this).values(held))
        return PeriodicTask(name, row.place)

    def release(self, task: PeriodicTask, place: str | None, delay: timedelta) -> None:
        """Save where to continue after `delay`; None: from the beginning.

        Nothing is written when another process has continued the task since.
        """
        same = sa.and_(chores.c.name == task.name, chores.c.place.is_not_distinct_from(task.place))
        then = {"place": place, "due_at": self._clock() + delay}
        with writing(self._engine) as connection:
            connection.execute(chores.update().where(same).values(then))


def _insert_if_new(connection: Connection, name: str, now: datetime) -> None:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    row = {"name": name, "due_at": now, "place": None}
    connection.execute(insert(chores).values(row).on_conflict_do_nothing())
