"""Locks of living workers, which PostgreSQL releases when the connection of a worker closes.

The kernel closes the connections of a process that dies, so a worker on another machine notices it
long before the lease expires. SQLite has no such locks, and all its workers are on one machine.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from jobs.db.engine import reading
from jobs.db.tables import jobs
from jobs.model import State

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

NAMESPACE = 0x76697361  # first key of the advisory locks
LOOKS = 3  # in a row without the lock; a living worker takes it again at its next look

TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:namespace, :key)")
HELD = sa.text(
    "SELECT objid::bigint FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
    "WHERE locktype = 'advisory' AND granted AND classid::bigint = :namespace AND objsubid = 2 "
    "AND datname = current_database()"
)


def lock_key(worker: str) -> int:
    """Return the second key of the lock of a worker, 31 bits."""
    return zlib.crc32(worker.encode()) & 0x7FFFFFFF


class SessionLock:
    """The lock of this worker, on a separate connection, and a view of the other locks."""

    def __init__(self, engine: Engine, worker: str) -> None:
        self._engine = engine
        self._worker = worker
        self._key = lock_key(worker)
        self._connection: Connection | None = None
        self._seen: set[int] = set()  # locks that were held
        self._missed: dict[tuple[str, int], int] = {}  # looks without a lock, by job and attempt

    def take(self) -> list[tuple[str, int]]:
        """Take the lock at the start; return jobs and attempts that died under the same name.

        A process in a restarted container often has the name of its predecessor. Nothing is
        returned while another process has the lock, or where the database has no such locks.
        """
        try:
            if not self._hold():
                return []
            with reading(self._engine) as connection:
                return [
                    (id_, attempt)
                    for id_, attempt, name in _running(connection)
                    if name == self._worker
                ]
        except SQLAlchemyError:
            self.close()
            return []

    def look(self) -> list[tuple[str, int]]:
        """Renew a lost lock; return jobs and attempts of workers whose lock is gone.

        Raises: SQLAlchemyError: when the database does not answer.
        """
        if self._engine.dialect.name != "postgresql":
            return []
        try:
            held = self._held()
            if held is None or self._key not in held:  # all locks may be lost, and taken again now
                self._forget()
                self._hold()
                return []
            return self._without_lock(held)
        except SQLAlchemyError:
            self._forget()
            raise

    def close(self) -> None:
        """Close the connection and so release the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # the pool must not hand a locked session to others
            connection.close()

    def _hold(self) -> bool:
        if self._engine.dialect.name != "postgresql":
            return False
        self.close()
        options = {"isolation_level": "AUTOCOMMIT"}  # no transaction stays open
        self._connection = self._engine.connect().execution_options(**options)
        keys = {"namespace": NAMESPACE, "key": self._key}
        return bool(self._connection.execute(TRY_LOCK, keys).scalar())

    def _held(self) -> set[int] | None:
        if self._connection is None:
            return None
        return set(self._connection.execute(HELD, {"namespace": NAMESPACE}).scalars())

    def _forget(self) -> None:
        self.close()
        self._seen.clear()
        self._missed.clear()

    def _without_lock(self, held: set[int]) -> list[tuple[str, int]]:
        assert self._connection is not None
        running = _running(self._connection)
        gone = {
            (job_id, attempt)
            for job_id, attempt, worker in running
            if (key := lock_key(worker)) in self._seen and key not in held
        }
        self._seen = held | (self._seen & {lock_key(worker) for _, _, worker in running})
        self._missed = {each: self._missed.get(each, 0) + 1 for each in gone}
        return [each for each, looks in self._missed.items() if looks >= LOOKS]


def _running(connection: Connection) -> list[tuple[str, int, str]]:
    columns = (jobs.c.id, jobs.c.attempt, jobs.c.worker)
    rows = connection.execute(sa.select(*columns).where(jobs.c.state == State.RUNNING))
    return [(id_, attempt, worker) for id_, attempt, worker in rows]
