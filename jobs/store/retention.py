"""Retention: expire clips, outputs and rows of jobs that ended long ago; find orphaned objects.

Orphaned objects are clips without a job, and files that an attempt stored without publishing them.
Every method works in batches and by compare-and-set on the row, so any number of processes can run
it at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jobs.db.engine import writing
from jobs.db.tables import jobs
from jobs.model import State, utc_now
from jobs.storage.keys import input_folder
from jobs.store import deletions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Connection, Engine, RowMapping

    from jobs.model import Clock
    from jobs.storage.factory import StoredObject
    from jobs.store.deletions import Deletion

BATCH_SIZE = 20
FINAL = [state for state in State if state.final]
NOTHING_KEPT: Mapping[str, Any] = {"motion_key": None, "motion_digest": None, "finished_takes": []}


@dataclass(frozen=True)
class Expired:
    """A job whose clip or outputs have just expired."""

    job_id: str
    attempts: int  # that can have stored objects


class RetentionStore:
    """Expiry of job rows by age; the caller removes the objects."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def expire_inputs(self, age: timedelta) -> list[Expired]:
        """Expire the clips of jobs that ended at least `age` ago; a retry is then refused."""
        now = self._clock()
        values = {"input_expired_at": now, "input_bytes": 0}
        return self._expire(jobs.c.input_expired_at, now - age, values)

    def expire_outputs(self, age: timedelta) -> list[Expired]:
        """Expire the outputs of jobs that ended at least `age` ago; the rows still list them."""
        now = self._clock()
        values = {"outputs_expired_at": now, "output_bytes": 0, **NOTHING_KEPT}
        return self._expire(jobs.c.outputs_expired_at, now - age, values)

    def expire_jobs(self, age: timedelta) -> list[Deletion]:
        """Delete the rows of jobs that ended at least `age` ago, as `JobStore.delete` does."""
        now = self._clock()
        with writing(self._engine) as connection:
            ids = [row["id"] for row in _ended(connection, now - age, sa.true())]
            if ids:
                connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
            return [deletions.note(connection, job_id, now, written=True) for job_id in ids]

    def orphans(
        self, objects: Sequence[StoredObject], age: timedelta, *, unknown_jobs: bool
    ) -> list[str]:
        """Return the keys of the orphaned objects among these that are older than `age`.

        unknown_jobs: include objects of jobs that are not in this database.
        """
        before = self._clock() - age
        by_job: dict[str, list[StoredObject]] = {}
        for stored in objects:
            by_job.setdefault(stored.job_id, []).append(stored)
        orphaned: list[str] = []
        with writing(self._engine) as connection:
            rows = connection.execute(sa.select(jobs).where(jobs.c.id.in_(by_job))).mappings()
            by_id = {row["id"]: row for row in rows}
            for job_id, of_job in by_job.items():
                row = by_id.get(job_id)
                if row is None:
                    orphaned += [
                        one.key for one in of_job if unknown_jobs and one.modified <= before
                    ]
                elif row["state"] in FINAL:
                    orphaned += _orphans_of_ended_job(connection, row, of_job, before)
        return orphaned

    def _expire(
        self, expired_at: sa.Column[Any], before: datetime, values: dict[str, Any]
    ) -> list[Expired]:
        with writing(self._engine) as connection:
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
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(ended).mappings().all()


def _orphans_of_ended_job(
    connection: Connection, row: RowMapping, objects: Sequence[StoredObject], before: datetime
) -> list[str]:
    clips = f"{input_folder(row['id'])}/"
    published = {output["key"] for output in row["outputs"]}
    ended_long_ago = row["finished_at"] <= before

    def orphaned(one: StoredObject) -> bool:
        if one.key.startswith(clips):
            return row["input_expired_at"] is not None
        if row["outputs_expired_at"] is not None:
            return True
        return one.key not in published and ended_long_ago and one.modified <= before

    keys = [one.key for one in objects if orphaned(one)]
    return keys if keys and _forget_kept_work(connection, row) else []


def _forget_kept_work(connection: Connection, row: RowMapping) -> bool:
    """Clear the motion and takes that a retry would reuse; False if the job was just retried."""
    same = sa.and_(
        jobs.c.id == row["id"],
        jobs.c.state == row["state"],
        jobs.c.attempt == row["attempt"],
        jobs.c.finished_at == row["finished_at"],
    )
    unpublished = {} if row["state"] == State.SUCCEEDED else {"output_bytes": 0}
    values = {**NOTHING_KEPT, **unpublished}
    return connection.execute(jobs.update().where(same).values(values)).rowcount == 1
