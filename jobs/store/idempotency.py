"""One job for one Idempotency-Key, however often the request is sent.

The key is a row that is written with the job's and goes with it. It is kept for 24 hours beyond the
end of the job.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jobs.db.tables import idempotency_keys as keys
from jobs.db.tables import jobs
from jobs.model import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

KEPT = timedelta(hours=24)
AT_ONCE = 100


class IdempotencyKeyReused(ValueError):
    """The key came with another body before."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} was used for another request")
        self.key = key


class IdempotencyConflict(Exception):  # no error: the other one's job is the answer
    """Another request with this key was quicker."""


@dataclass(frozen=True)
class IdempotencyKey:
    """A key, and what it stands for."""

    key: str
    digest: str  # of the request, from `request_digest`
    tenant: str = LOCAL  # whose key it is: two tenants may use the same


def request_digest(fields: Mapping[str, Any], audio: str) -> str:
    """What was asked for, as sha256. `fields` are those that differ from their defaults: so one
    that is left out counts as its default, and a field that is new to us changes no digest.
    audio: the digest of the clip."""
    asked = json.dumps({**fields, "audio": audio}, sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def keep(connection: Connection, once: IdempotencyKey, job_id: str, now: datetime) -> None:
    """Bind the key to the job; the database refuses a second one."""
    row = {
        "tenant": once.tenant,
        "key": once.key,
        "digest": once.digest,
        "job_id": job_id,
        "look_at": now + KEPT,
    }
    connection.execute(keys.insert().values(row))


def job_made_by(connection: Connection, once: IdempotencyKey) -> str | None:
    """The job of this key; None where there is none. KeyReused where it stands for another body."""
    this = sa.and_(keys.c.tenant == once.tenant, keys.c.key == once.key)
    kept = sa.select(keys.c.digest, keys.c.job_id).where(this)
    row = connection.execute(kept).first()
    if row is None:
        return None
    if row.digest != once.digest:
        raise IdempotencyKeyReused(once.key)
    return str(row.job_id)


def forget(connection: Connection, now: datetime) -> int:
    """Drop keys whose job ended long enough ago; answers how many.

    A key is looked at when it could be due at the earliest, and then put off until it is.
    """
    due = (
        sa.select(keys.c.job_id, jobs.c.finished_at)
        .join(jobs, jobs.c.id == keys.c.job_id)
        .where(keys.c.look_at <= now)
        .order_by(keys.c.look_at)
        .limit(AT_ONCE)
    )
    rows = connection.execute(due).mappings().all()
    over = [row["job_id"] for row in rows if _due_at(row, now) <= now]
    if over:
        connection.execute(keys.delete().where(keys.c.job_id.in_(over)))
    for row in rows:
        if row["job_id"] not in over:
            later = keys.update().where(keys.c.job_id == row["job_id"])
            connection.execute(later.values(look_at=_due_at(row, now)))
    return len(over)


def _due_at(row: RowMapping, now: datetime) -> datetime:
    ended: datetime = row["finished_at"] or now  # one that has not ended may do so now
    return ended + KEPT
