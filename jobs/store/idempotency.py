"""Idempotency keys: one job per key, however often the request is sent.

The key's row is written in the transaction of the job and deleted with the job. It is kept for 24
hours after the job has ended.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jobs.db.engine import reading, writing
from jobs.db.tables import idempotency_keys as keys
from jobs.db.tables import jobs
from jobs.model import LOCAL, utc_now
from jobs.store.job_rows import read_job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Engine, RowMapping

    from jobs.model import Clock, Job

KEPT = timedelta(hours=24)
BATCH_SIZE = 100


class IdempotencyKeyReused(ValueError):
    """The key was used for another request before."""

    def __init__(self, key: str) -> None:
        super().__init__(f"idempotency key {key!r} was used for another request")
        self.key = key


class IdempotencyConflict(Exception):  # no error: the caller answers with the existing job
    """Another request with this key was committed first."""


@dataclass(frozen=True)
class IdempotencyKey:
    """A key and the digest of its request."""

    key: str
    digest: str  # from `request_digest`
    tenant: str = LOCAL  # each tenant has its own key space


def request_digest(fields: Mapping[str, Any], audio: str) -> str:
    """Return the sha256 of a request.

    fields: the values that differ from their defaults. So a field that is left out equals its
    default, and a new field of the API changes no digest. audio: the digest of the clip.
    """
    request = json.dumps({**fields, "audio": audio}, sort_keys=True)
    return hashlib.sha256(request.encode()).hexdigest()


class IdempotencyKeyStore:
    """Idempotency key rows; `JobStore.submit` writes them."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def made_by(self, key: IdempotencyKey) -> Job | None:
        """Return the job that was submitted with this key; None if the key is unused.

        Raises: IdempotencyKeyReused: when the key was used for another request.
        """
        this = sa.and_(keys.c.tenant == key.tenant, keys.c.key == key.key)
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(keys.c.digest, keys.c.job_id).where(this)).first()
            if row is None:
                return None
            if row.digest != key.digest:
                raise IdempotencyKeyReused(key.key)
            return read_job(connection, row.job_id)

    def delete_expired(self) -> int:
        """Delete keys whose job ended more than 24 hours ago; return their number.

        A key is checked when it can have expired at the earliest, and then postponed until it has.
        """
        now = self._clock()
        due = (
            sa.select(keys.c.job_id, jobs.c.finished_at)
            .join(jobs, jobs.c.id == keys.c.job_id)
            .where(keys.c.look_at <= now)
            .order_by(keys.c.look_at)
            .limit(BATCH_SIZE)
        )
        with writing(self._engine) as connection:
            rows = connection.execute(due).mappings().all()
            expired = [row["job_id"] for row in rows if _expires_at(row, now) <= now]
            if expired:
                connection.execute(keys.delete().where(keys.c.job_id.in_(expired)))
            for row in rows:
                if row["job_id"] not in expired:
                    later = keys.update().where(keys.c.job_id == row["job_id"])
                    connection.execute(later.values(look_at=_expires_at(row, now)))
            return len(expired)


def bind(connection: Connection, key: IdempotencyKey, job_id: str, now: datetime) -> None:
    """Insert the key of a job; the primary key rejects a second job for the same key."""
    row = {
        "tenant": key.tenant,
        "key": key.key,
        "digest": key.digest,
        "job_id": job_id,
        "look_at": now + KEPT,
    }
    connection.execute(keys.insert().values(row))


def _expires_at(row: RowMapping, now: datetime) -> datetime:
    ended: datetime = row["finished_at"] or now  # a job that is not finished can finish now
    return ended + KEPT
