"""Deleted jobs whose objects have to go: removed at once, and again when late ones may have come.

A worker that was at work on a deleted job stops at its next step, but an object that it is storing
just then arrives after the first removal; so does one of a worker that was suspended. Removing is
legal any number of times, so it is done in rounds, and a row here remembers those still to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.tables import removals

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

ROUNDS_SECONDS = (0, 60, 3600, 86_400)  # after the deletion
HOLD_SECONDS = 30  # a removal that nobody finishes in this time is anybody's again
AT_ONCE = 8


@dataclass(frozen=True)
class Deletion:
    """One round of removing what is stored of a deleted job."""

    job_id: str
    rounds_left: int  # this one and those after it


def note(connection: Connection, job_id: str, now: datetime, *, written: bool) -> Deletion:
    """Remember to remove the objects; the first round is the caller's.

    written: whether a worker has had the job. Where none had, one round removes everything.
    """
    removal = Deletion(job_id, len(ROUNDS_SECONDS) if written else 1)
    row = {
        "job_id": job_id,
        "deleted_at": now,
        "due_at": now + timedelta(seconds=HOLD_SECONDS),
        "rounds_left": removal.rounds_left,
    }
    connection.execute(removals.insert().values(row))
    return removal


def take_due(connection: Connection, now: datetime) -> list[Deletion]:
    """The removals that are due, taken so that nobody else does them meanwhile."""
    due = (
        sa.select(removals.c.job_id, removals.c.rounds_left)
        .where(removals.c.due_at <= now)
        .order_by(removals.c.due_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    taken = [Deletion(row.job_id, row.rounds_left) for row in connection.execute(due)]
    if taken:
        held = {"due_at": now + timedelta(seconds=HOLD_SECONDS)}
        ids = [removal.job_id for removal in taken]
        connection.execute(removals.update().where(removals.c.job_id.in_(ids)).values(held))
    return taken


def finish_round(connection: Connection, removal: Deletion) -> None:
    """Count the round, unless somebody has: the row goes with the last one."""
    this = sa.and_(
        removals.c.job_id == removal.job_id, removals.c.rounds_left == removal.rounds_left
    )
    if removal.rounds_left <= 1:
        connection.execute(removals.delete().where(this))
        return
    deleted_at = connection.execute(sa.select(removals.c.deleted_at).where(this)).scalar()
    if deleted_at is None:
        return
    seconds = ROUNDS_SECONDS[len(ROUNDS_SECONDS) - removal.rounds_left + 1]
    then = {
        "due_at": deleted_at + timedelta(seconds=seconds),
        "rounds_left": removal.rounds_left - 1,
    }
    connection.execute(removals.update().where(this).values(then))
