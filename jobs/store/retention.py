"""What is removed by age: inputs and outputs of jobs that ended, their rows, and leftovers.

Leftovers are objects that nobody will ask for: clips whose row never came, and what attempts have
stored that was not published. Everything here works in batches and by compare-and-set on the row,
so that any number of processes may do it at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jobs.db.tables import jobs
from jobs.model import State
from jobs.storage.keys import input_folder
from jobs.store import deletions as removals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

    from jobs.storage.factory import StoredObject
    from jobs.store.deletions import Deletion

AT_ONCE = 20
FINAL = [state for state in State if state.final]
NOTHING_KEPT: Mapping[str, Any] = {"motion_key": None, "motion_digest": None, "finished_takes": []}


@dataclass(frozen=True)
class Expired:
    """A job of which something was given up just now."""

    job_id: str
    attempts: int  # that may have stored something


def expire_inputs(connection: Connection, before: datetime, now: datetime) -> list[Expired]:
    """Give up the clips of jobs that ended before; they cannot be retried any more."""
    values = {"input_expired_at": now, "input_bytes": 0}
    return _expire(connection, jobs.c.input_expired_at, before, values)


def expire_outputs(connection: Connection, before: datetime, now: datetime) -> list[Expired]:
    """Give up what jobs have made that ended before; the rows still tell what it was."""
    values = {"outputs_expired_at": now, "output_bytes": 0, **NOTHING_KEPT}
    return _expire(connection, jobs.c.outputs_expired_at, before, values)


def expire_jobs(connection: Connection, before: datetime, now: datetime) -> list[Deletion]:
    """Forget jobs that ended before; their objects are the caller's to remove, as by a deletion."""
    ids = [row["id"] for row in _ended(connection, before, sa.true())]
    if ids:
        connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
    return [removals.note(connection, job_id, now, written=True) for job_id in ids]


def _expire(
    connection: Connection, expired_at: sa.Column[Any], before: datetime, values: dict[str, Any]
) -> list[Expired]:
    rows = _ended(connection, before, expired_at.is_(None))
    if rows:
        these = jobs.c.id.in_([row["id"] for row in rows])
        connection.execute(jobs.update().where(these).values(values))
    return [Expired(row["id"], row["attempt"]) for row in rows]


def _ended(
    connection: Connection, before: datetime, where: sa.ColumnElement[bool]
) -> Sequence[RowMapping]:
    ended = (
        sa.select(jobs.c.id, jobs.c.attempt)
        .where(jobs.c.finished_at <= before, jobs.c.state.in_(FINAL), where)
        .order_by(jobs.c.finished_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(ended).mappings().all()


def leftovers(
    connection: Connection, found: Sequence[StoredObject], before: datetime, *, strangers: bool
) -> list[str]:
    """Those of these objects that can go: keys. `before`: what is younger stays.

    strangers: whether objects of jobs that are not in this database go, too.
    """
    by_job: dict[str, list[StoredObject]] = {}
    for stored in found:
        by_job.setdefault(stored.job_id, []).append(stored)
    rows = connection.execute(sa.select(jobs).where(jobs.c.id.in_(by_job))).mappings()
    by_id = {row["id"]: row for row in rows}
    gone: list[str] = []
    for job_id, stored_ones in by_job.items():
        row = by_id.get(job_id)
        if row is None:
            gone += [one.key for one in stored_ones if strangers and one.modified <= before]
        elif row["state"] in FINAL:
            gone += _of_an_ended_job(connection, row, stored_ones, before)
    return gone


def _of_an_ended_job(
    connection: Connection, row: RowMapping, found: Sequence[StoredObject], before: datetime
) -> list[str]:
    clips = f"{input_folder(row['id'])}/"
    published = {output["key"] for output in row["outputs"]}
    ended_long_ago = row["finished_at"] <= before

    def unwanted(one: StoredObject) -> bool:
        if one.key.startswith(clips):
            return row["input_expired_at"] is not None
        if row["outputs_expired_at"] is not None:
            return True
        return one.key not in published and ended_long_ago and one.modified <= before

    gone = [one.key for one in found if unwanted(one)]
    return gone if gone and _given_up(connection, row) else []


def _given_up(connection: Connection, row: RowMapping) -> bool:
    """Let a retry find nothing to go on from; False where the job was retried just now."""
    same = sa.and_(
        jobs.c.id == row["id"],
        jobs.c.state == row["state"],
        jobs.c.attempt == row["attempt"],
        jobs.c.finished_at == row["finished_at"],
    )
    return connection.execute(jobs.update().where(same).values(NOTHING_KEPT)).rowcount == 1
