"""Jobs that were sent together: accepted all or none, then looked at and canceled as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.engine import reading
from jobs.db.tables import batches, jobs
from jobs.model import State
from jobs.store.idempotency import IdempotencyKeyReused

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from jobs.store.idempotency import IdempotencyKey


class BatchMissing(LookupError):
    """No batch of this tenant has this id."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"there is no batch {batch_id}")
        self.batch_id = batch_id


@dataclass(frozen=True)
class NewBatch:
    """A batch to be made."""

    id: str  # from `new_job_id`
    tenant: str
    once: IdempotencyKey | None = None


@dataclass(frozen=True)
class Batch:
    """A batch as it was sent."""

    id: str
    tenant: str
    created_at: datetime
    size: int  # jobs; some may be deleted since


@dataclass(frozen=True)
class BatchItem:
    """How one of its jobs stands."""

    place: int
    job_id: str
    state: State
    error_code: str | None
    error_detail: str | None


class Batches:
    """Reads the rows; `Store` writes them, with those of their jobs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, batch_id: str, *, tenant: str | None = None) -> Batch:
        """BatchMissing where it is another tenant's, or never was. None sees everybody's."""
        with reading(self._engine) as connection:
            return read(connection, batch_id, tenant)

    def items(self, batch_id: str) -> list[BatchItem]:
        """Its jobs that are there, in the order in which they were sent."""
        columns = (jobs.c.batch_place, jobs.c.id, jobs.c.state)
        errors = (jobs.c.error_code, jobs.c.error_detail)
        mine = sa.select(*columns, *errors).where(jobs.c.batch_id == batch_id)
        with reading(self._engine) as connection:
            rows = connection.execute(mine.order_by(jobs.c.batch_place)).all()
        return [BatchItem(place, job, State(state), *told) for place, job, state, *told in rows]

    def made_by(self, once: IdempotencyKey) -> Batch | None:
        """The batch that this key has made. KeyReused where it stood for another body."""
        this = sa.and_(batches.c.tenant == once.tenant, batches.c.idempotency_key == once.key)
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(batches.c.id, batches.c.digest).where(this)).first()
            if row is None:
                return None
            if row.digest != once.digest:
                raise IdempotencyKeyReused(once.key)
            return read(connection, row.id, once.tenant)


def add(connection: Connection, new: NewBatch, size: int, now: datetime) -> None:
    """Write the row; the database refuses a second one of the same key."""
    row = {"id": new.id, "tenant": new.tenant, "created_at": now, "size": size}
    if new.once is not None:
        row |= {"idempotency_key": new.once.key, "digest": new.once.digest}
    connection.execute(batches.insert().values(row))


def read(connection: Connection, batch_id: str, tenant: str | None) -> Batch:
    """The row. BatchMissing where there is none that this tenant may see."""
    columns = (batches.c.id, batches.c.tenant, batches.c.created_at, batches.c.size)
    this = sa.select(*columns).where(batches.c.id == batch_id)
    if tenant is not None:
        this = this.where(batches.c.tenant == tenant)
    row = connection.execute(this).first()
    if row is None:
        raise BatchMissing(batch_id)
    return Batch(*row)
