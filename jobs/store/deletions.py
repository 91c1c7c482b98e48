"""Objects of deleted jobs: removed at once, and again later for objects that arrive late.

A worker of a deleted job stops at its next step, but an object that it is storing at that moment
arrives after the first removal; so does an object of a worker that was suspended. Removal can be
repeated safely, so it is done in rounds, and a row counts the rounds that are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.engine import writing
from jobs.db.tables import removals
from jobs.model import utc_now

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from jobs.model import Clock

ROUNDS_SECONDS = (0, 60, 3600, 86_400)  # after the deletion
HOLD_SECONDS = 30  # a round that is not finished in this time is taken again
BATCH_SIZE = 8


@dataclass(frozen=True)
class Deletion:
    """One round of removing the objects of a deleted job."""

    job_id: str
    rounds_left: int  # this one included


class DeletionStore:
    """Rows of removals that are still to be done."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def take_due(self) -> list[Deletion]:
        """Return the rounds that are due; other processes do not get them for a while."""
        now = self._clock()
        due = (
            sa.select(removals.c.job_id, removals.c.rounds_left)
            .where(removals.c.due_at <= now)
            .order_by(removals.c.due_at)
            .limit(BATCH_SIZE)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            taken = [Deletion(row.job_id, row.rounds_left) for row in connection.execute(due)]
            if taken:
                held = {"due_at": now + timedelta(seconds=HOLD_SECONDS)}
                ids = [deletion.job_id for deletion in taken]
                connection.execute(removals.update().where(removals.c.job_id.in_(ids)).values(held))
        return taken

    def finish_round(self, deletion: Deletion) -> None:
        """Count the round as done; the row goes with the last one. Safe to repeat."""
        this = sa.and_(
            removals.c.job_id == deletion.job_id, removals.c.rounds_left == deletion.rounds_left
        )
        with writing(self._engine) as connection:
            if deletion.rounds_left <= 1:
                connection.execute(removals.delete().where(this))
                return
            deleted_at = connection.execute(sa.select(removals.c.deleted_at).where(this)).scalar()
            if deleted_at is None:
                return
            seconds = ROUNDS_SECONDS[len(ROUNDS_SECONDS) - deletion.rounds_left + 1]
            then = {
                "due_at": deleted_at + timedelta(seconds=seconds),
                "rounds_left": deletion.rounds_left - 1,
            }
            connection.execute(removals.update().where(this).values(then))


def note(connection: Connection, job_id: str, now: datetime, *, written: bool) -> Deletion:
    """Insert the removal of a deleted job; the caller does its first round.

    written: whether a worker has claimed the job. If none has, one round removes everything.
    """
    deletion = Deletion(job_id, len(ROUNDS_SECONDS) if written else 1)
    row = {
        "job_id": job_id,
        "deleted_at": now,
        "due_at": now + timedelta(seconds=HOLD_SECONDS),
        "rounds_left": deletion.rounds_left,
    }
    connection.execute(removals.insert().values(row))
    return deletion
