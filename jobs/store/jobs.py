"""Jobs as their owners use them: submit, look up, cancel, retry and delete."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from jobs.db.engine import after_commit, reading, writing
from jobs.db.tables import jobs
from jobs.model import JobStatus, State, utc_now
from jobs.store import deletions, idempotency
from jobs.store.fair_share import read_positions
from jobs.store.idempotency import IdempotencyConflict, IdempotencyKey
from jobs.store.job_rows import (
    NOT_IN_WORK,
    UNFINISHED,
    JobLimits,
    JobMissing,
    cancel_time,
    end_job,
    job_of_row,
    owned_by,
    queue_jobs,
    read_job,
    update_job,
)
from jobs.store.pagination import JobFilter, page_of, select_page
from jobs.store.queue_positions import PositionCache
from jobs.store.quotas import check_jobs, hold_to_quota
from jobs.telemetry import job_events
from jobs.telemetry.trace_context import current_trace

MOST_WATERMARKS = 10_000  # newest ids that detection looks for in files that have suffered

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Engine

    from jobs.model import Clock, Job, NewJob
    from jobs.store.deletions import Deletion
    from jobs.store.pagination import Page

ALL = JobFilter()
IDS_PER_STATEMENT = 500


class JobStore:
    """Job rows, as the API reads and writes them.

    A method with a `tenant` treats another tenant's job as missing; None sees the jobs of all
    tenants.
    """

    def __init__(self, engine: Engine, limits: JobLimits, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._position_cache = PositionCache(self._all_positions)

    def submit(self, new: NewJob, *, key: IdempotencyKey | None = None) -> Job:
        """Queue a job and return it.

        Raises:
            IdempotencyConflict: when `key` already has a job; see `IdempotencyKeyStore.made_by`.
            QuotaExceeded: when the job would exceed the quota of its tenant.
        """
        now = self._clock()
        try:
            with writing(self._engine) as connection:
                queue_jobs(connection, [new], self._limits, now)
                if key is not None:
                    idempotency.bind(connection, key, new.id, now)
                return read_job(connection, new.id)
        except IntegrityError as error:
            if key is None:
                raise
            raise IdempotencyConflict from error

    def get(self, job_id: str, *, tenant: str | None = None) -> Job:
        """Return the job. Raises: JobMissing: when the tenant has no such job."""
        with reading(self._engine) as connection:
            return read_job(connection, job_id, tenant)

    def with_watermark(self, watermark: str) -> str | None:
        """Return the id of the newest job whose outputs have this watermark, 16 hex digits."""
        newest = sa.select(jobs.c.id).where(jobs.c.watermark == watermark)
        with reading(self._engine) as connection:
            found: str | None = connection.scalar(
                newest.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(1)
            )
        return found

    def watermarks(self, limit: int = MOST_WATERMARKS) -> list[str]:
        """Return the ids of the watermarks of the newest marked jobs, 16 hex digits each."""
        marked = sa.select(jobs.c.watermark).where(jobs.c.watermark.is_not(None))
        newest = marked.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        with reading(self._engine) as connection:
            return list(dict.fromkeys(connection.scalars(newest)))

    def page(
        self, job_filter: JobFilter = ALL, *, limit: int = 20, cursor: str | None = None
    ) -> Page:
        """Return up to `limit` matching jobs, newest first, after the cursor of an earlier page.

        Raises: CursorError: when `cursor` is invalid.
        """
        newest = select_page(job_filter, limit=limit, cursor=cursor)
        with reading(self._engine) as connection:
            found = [job_of_row(row) for row in connection.execute(newest).mappings()]
        return page_of(found, limit=limit)

    def position(self, job_id: str) -> int | None:
        """Return the queue position, 1 for the job that is claimed next; None if not queued."""
        return self.positions([job_id]).get(job_id)

    def positions(self, job_ids: Collection[str]) -> dict[str, int]:
        """Return the positions of the queued jobs among these; in a long queue from a cache."""
        return self._position_cache.of(job_ids)

    def statuses(self, job_ids: Collection[str]) -> dict[str, JobStatus]:
        """Return the status of each of these jobs that exists."""
        ids = list(job_ids)
        rows: list[Any] = []
        with reading(self._engine) as connection:
            for start in range(0, len(ids), IDS_PER_STATEMENT):
                rows += _status_rows(connection, ids[start : start + IDS_PER_STATEMENT])
        queued = [row.id for row in rows if row.state == State.QUEUED]
        positions = self.positions(queued) if queued else {}
        return {
            row.id: JobStatus(
                State(row.state), row.attempt, row.stage, row.stage_progress, positions.get(row.id)
            )
            for row in rows
        }

    def cancel(self, job_id: str, *, tenant: str | None = None) -> bool:
        """Cancel a queued or running job; its worker stops at its next write.

        Returns False when the job does not exist or has ended.
        """
        unfinished = sa.and_(owned_by(tenant, job_id), UNFINISHED)
        with writing(self._engine) as connection:
            return end_job(connection, job_id, State.CANCELED, self._clock(), where=unfinished)

    def retry(self, job_id: str, *, tenant: str | None = None) -> bool:
        """Queue a failed or canceled job again, with the attempts and the time of a new job.

        The row stays the same: sampled motion is kept, and the attempt number continues, so a
        worker that is still stopping cannot write. Returns False when the job is in another state.

        Raises: QuotaExceeded: when the tenant has too many jobs in flight.
        """
        now = self._clock()
        again = {
            **NOT_IN_WORK,
            "state": State.QUEUED,
            "max_attempts": jobs.c.attempt + self._limits.max_attempts,
            "woken_at": now,
            "queued_at": now,
            "not_before": None,
            "setbacks": 0,
            "started_at": None,
            "finished_at": None,
            "outputs_expired_at": None,
            "error_code": None,
            "error_detail": None,
        }
        ended = sa.and_(
            owned_by(tenant, job_id),
            jobs.c.state.in_([State.FAILED, State.CANCELED]),
            jobs.c.input_expired_at.is_(None),
        )
        with writing(self._engine) as connection:
            old = connection.execute(
                sa.select(jobs.c.tenant, jobs.c.cancel_after, jobs.c.person).where(ended)
            ).first()
            if old is None:
                return False
            quota = hold_to_quota(connection, old.tenant, self._limits.quota)
            again["cancel_at"] = cancel_time(old.cancel_after, now)
            if (trace := current_trace()) is not None:
                again["trace"] = trace
            queued = update_job(connection, ended, again)
            check_jobs(connection, old.tenant, quota, 1)
            after_commit(connection, partial(job_events.submitted, old.person))
            return queued

    def delete(self, job_id: str, *, tenant: str | None = None) -> Deletion:
        """Delete the row, whatever its state; a worker of the job stops at its next write.

        The caller removes the objects and then calls `DeletionStore.finish_round`. The reaper
        repeats that when it fails, or when a worker that is still stopping stores more.

        Raises: JobMissing: when the tenant has no such job.
        """
        with writing(self._engine) as connection:
            this = owned_by(tenant, job_id)
            attempts = sa.select(jobs.c.attempt).where(this).with_for_update()
            attempt = connection.execute(attempts).scalar()
            if attempt is None:
                raise JobMissing(job_id)
            connection.execute(jobs.delete().where(this))
            return deletions.note(connection, job_id, self._clock(), written=attempt > 0)

    def _all_positions(self) -> dict[str, int]:
        with reading(self._engine) as connection:
            return read_positions(connection)


def _status_rows(connection: Connection, job_ids: Collection[str]) -> Sequence[Any]:
    columns = (jobs.c.id, jobs.c.state, jobs.c.attempt, jobs.c.stage, jobs.c.stage_progress)
    return connection.execute(sa.select(*columns).where(jobs.c.id.in_(job_ids))).all()
