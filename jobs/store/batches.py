"""Batches: jobs that are submitted all or none, then looked up and canceled together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobs.db.engine import reading, writing
from jobs.db.tables import batches, jobs
from jobs.model import State, error_of, utc_now
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKeyReused
from jobs.store.job_rows import UNFINISHED, JobLimits, end_job, queue_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from jobs.model import Clock, JobError, NewJob
    from jobs.store.idempotency import IdempotencyKey


class BatchMissing(LookupError):
    """No batch of this tenant has this id."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch not found: {batch_id}")
        self.batch_id = batch_id


@dataclass(frozen=True)
class NewBatch:
    """A batch to submit."""

    id: str  # from `new_job_id`
    tenant: str
    key: IdempotencyKey | None = None


@dataclass(frozen=True)
class Batch:
    """A batch as it was submitted."""

    id: str
    tenant: str
    created_at: datetime
    size: int  # submitted jobs; some may have been deleted


@dataclass(frozen=True)
class BatchItem:
    """One job of a batch."""

    place: int  # from 1, in the order of submission
    job_id: str
    state: State
    error: JobError | None


class BatchStore:
    """Batch rows, written together with the rows of their jobs.

    A method with a `tenant` treats another tenant's batch as missing; None sees all batches.
    """

    def __init__(self, engine: Engine, limits: JobLimits, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._limits = limits
        self._clock = clock

    def submit(self, batch: NewBatch, new: Sequence[NewJob]) -> Batch:
        """Queue all of these jobs, or none.

        Raises:
            IdempotencyConflict: when the key already has a batch; see `made_by`.
            QuotaExceeded: when the jobs would exceed the quota of the tenant.
        """
        now = self._clock()
        try:
            with writing(self._engine) as connection:
                _insert(connection, batch, len(new), now)
                queue_jobs(connection, new, self._limits, now)
                return _read(connection, batch.id, batch.tenant)
        except IntegrityError as error:
            if batch.key is None:
                raise
            raise IdempotencyConflict from error

    def cancel(self, batch_id: str, *, tenant: str | None = None) -> int:
        """Cancel the queued and running jobs of the batch; return their number.

        Raises: BatchMissing: when the tenant has no such batch.
        """
        of_batch = sa.select(jobs.c.id).where(jobs.c.batch_id == batch_id, UNFINISHED)
        now = self._clock()
        with writing(self._engine) as connection:
            _read(connection, batch_id, tenant)
            ids = list(connection.execute(of_batch).scalars())
            return sum(
                end_job(
                    connection,
                    each,
                    State.CANCELED,
                    now,
                    where=sa.and_(jobs.c.id == each, UNFINISHED),
                )
                for each in ids
            )

    def get(self, batch_id: str, *, tenant: str | None = None) -> Batch:
        """Return the batch. Raises: BatchMissing: when the tenant has no such batch."""
        with reading(self._engine) as connection:
            return _read(connection, batch_id, tenant)

    def items(self, batch_id: str) -> list[BatchItem]:
        """Return the jobs of the batch that still exist, in the order of submission."""
        columns = (jobs.c.batch_place, jobs.c.id, jobs.c.state)
        errors = (jobs.c.error_code, jobs.c.error_detail)
        of_batch = sa.select(*columns, *errors).where(jobs.c.batch_id == batch_id)
        with reading(self._engine) as connection:
            rows = connection.execute(of_batch.order_by(jobs.c.batch_place)).all()
        return [
            BatchItem(place, job, State(state), error_of(State(state), *error))
            for place, job, state, *error in rows
        ]

    def made_by(self, key: IdempotencyKey) -> Batch | None:
        """Return the batch that was submitted with this key; None if the key is unused.

        Raises: IdempotencyKeyReused: when the key was used for another request.
        """
        this = sa.and_(batches.c.tenant == key.tenant, batches.c.idempotency_key == key.key)
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(batches.c.id, batches.c.digest).where(this)).first()
            if row is None:
                return None
            if row.digest != key.digest:
                raise IdempotencyKeyReused(key.key)
            return _read(connection, row.id, key.tenant)


def _insert(connection: Connection, new: NewBatch, size: int, now: datetime) -> None:
    """Insert the row; a unique index rejects a second one with the same idempotency key."""
    row = {"id": new.id, "tenant": new.tenant, "created_at": now, "size": size}
    if new.key is not None:
        row |= {"idempotency_key": new.key.key, "digest": new.key.digest}
    connection.execute(batches.insert().values(row))


def _read(connection: Connection, batch_id: str, tenant: str | None) -> Batch:
    columns = (batches.c.id, batches.c.tenant, batches.c.created_at, batches.c.size)
    this = sa.select(*columns).where(batches.c.id == batch_id)
    if tenant is not None:
        this = this.where(batches.c.tenant == tenant)
    row = connection.execute(this).first()
    if row is None:
        raise BatchMissing(batch_id)
    return Batch(*row)
