"""Rows of the jobs table: read, queue, update and end them inside the caller's transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jobs.db.engine import after_commit
from jobs.db.tables import jobs
from jobs.model import FinishedTake, Job, Output, State, warnings_of
from jobs.request.model import JobRequest
from jobs.store.quotas import Quota, charge_seconds, check_bytes, check_jobs, hold_to_quota
from jobs.telemetry import job_events
from jobs.webhooks import outbox

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, RowMapping

    from jobs.model import NewJob

# These columns are used in queries only; `Job` has no field for them.
QUERY_COLUMNS = (
    "woken_at", "person", "partner_person", "input_bytes", "output_bytes", "not_before", "setbacks"
)  # fmt: skip
NOT_IN_WORK: Mapping[str, Any] = {
    "worker": None,
    "lease_until": None,
    "stage": "queued",
    "stage_progress": 0.0,
    "progress": 0.0,
    "seconds_left": None,
}
CANCEL_AFTER = "cancel_after"  # error code of a job that did not end in time
UNFINISHED = jobs.c.state.in_([State.QUEUED, State.RUNNING])


class JobMissing(LookupError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job not found: {job_id}")
        self.job_id = job_id


@dataclass(frozen=True)
class JobLimits:
    """Limits of new jobs."""

    max_attempts: int = 3
    quota: Quota = field(default_factory=Quota)  # of each tenant that has no own value


def queue_jobs(
    connection: Connection, new: Sequence[NewJob], limits: JobLimits, now: datetime
) -> None:
    """Insert queued rows for jobs of one tenant and charge them to the tenant's quota."""
    tenant = new[0].tenant
    quota = hold_to_quota(connection, tenant, limits.quota)
    connection.execute(jobs.insert(), [_new_row(each, limits.max_attempts, now) for each in new])
    check_jobs(connection, tenant, quota, len(new))
    charge_seconds(connection, tenant, quota, sum(each.clip_seconds for each in new), now)
    check_bytes(connection, tenant, quota, sum(each.input_bytes for each in new))
    for each in new:
        after_commit(connection, partial(job_events.submitted, each.request.person))


def owned_by(tenant: str | None, job_id: str) -> ColumnElement[bool]:
    """Condition: the row has this id and belongs to this tenant (None: to any)."""
    this = jobs.c.id == job_id
    return this if tenant is None else sa.and_(this, jobs.c.tenant == tenant)


def read_job(connection: Connection, job_id: str, tenant: str | None = None) -> Job:
    """Return the job. Raises: JobMissing: when the tenant has no such job."""
    row = connection.execute(sa.select(jobs).where(owned_by(tenant, job_id))).mappings().first()
    if row is None:
        raise JobMissing(job_id)
    return job_of_row(row)


def update_job(
    connection: Connection, where: ColumnElement[bool], values: Mapping[str, Any]
) -> bool:
    """Update the row that matches; False when none does."""
    return connection.execute(jobs.update().where(where).values(dict(values))).rowcount == 1


def end_job(
    connection: Connection,
    job_id: str,
    state: State,
    now: datetime,
    *,
    where: ColumnElement[bool],
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Move the job to a final state and queue its webhook; False when `where` does not match.

    Every final state is written here, so no end is without its webhook, log line and metrics.
    """
    ended = {"state": state, "finished_at": now, "lease_until": None, "seconds_left": None}
    if not update_job(connection, where, {**(values or {}), **ended}):
        return False
    row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one()
    outbox.note_end(connection, job_of_row(row), now)
    after_commit(connection, partial(job_events.ended, row, now))
    return True


def overdue(now: datetime) -> ColumnElement[bool]:
    """Condition: the job has not ended, and its time has passed."""
    return sa.and_(UNFINISHED, jobs.c.cancel_at <= now)


def cancel_overdue(
    connection: Connection, now: datetime, where: ColumnElement[bool] | None = None
) -> int:
    """Cancel the jobs whose time has passed, all or those that match; return their number."""
    due = sa.select(jobs.c.id, jobs.c.cancel_after).where(overdue(now))
    if where is not None:
        due = due.where(where)
    due = due.order_by(jobs.c.cancel_at, jobs.c.id).with_for_update(skip_locked=True)
    return sum(
        end_job(
            connection,
            job_id,
            State.CANCELED,
            now,
            where=sa.and_(jobs.c.id == job_id, overdue(now)),
            values={
                "error_code": CANCEL_AFTER,
                "error_detail": f"The job did not end within the {seconds:g} s of cancel_after; "
                "retry it, or send it with more time.",
            },
        )
        for job_id, seconds in connection.execute(due).all()
    )


def cancel_time(seconds: float | None, now: datetime) -> datetime | None:
    """Return the time at which a job that is queued now is canceled; None: never."""
    return None if seconds is None else now + timedelta(seconds=seconds)


def job_of_row(row: RowMapping) -> Job:
    """Build a `Job` from all columns of its row."""
    columns = {name: value for name, value in row.items() if name not in QUERY_COLUMNS}
    columns["state"] = State(row["state"])
    columns["request"] = JobRequest.model_validate(row["request"])
    columns["outputs"] = _outputs(row["outputs"])
    columns["webhook_events"] = tuple(row["webhook_events"])
    columns["warnings"] = warnings_of(row["warnings"])
    columns["finished_takes"] = tuple(
        FinishedTake(take["take"], take["digest"], _outputs(take["outputs"]))
        for take in row["finished_takes"]
    )
    return Job(**columns)


def _outputs(stored: Sequence[Mapping[str, Any]]) -> tuple[Output, ...]:
    return tuple(Output(**output) for output in stored)


def _new_row(new: NewJob, max_attempts: int, now: datetime) -> dict[str, Any]:
    return {
        **NOT_IN_WORK,
        "id": new.id,
        "state": State.QUEUED,
        "attempt": 0,
        "max_attempts": max_attempts,
        "created_at": now,
        "woken_at": now,
        "queued_at": now,
        "person": new.request.person,
        "request": new.request.seeded().model_dump(mode="json"),
        "input_key": new.input_key,
        "partner_key": new.partner_key,
        "filename": new.filename,
        "clip_seconds": new.clip_seconds,
        "tenant": new.tenant,
        "input_bytes": new.input_bytes,
        "priority": new.priority,
        "metadata": dict(new.metadata),
        "callback_url": new.callback_url,
        "webhook_events": list(new.webhook_events),
        "cancel_after": new.cancel_after,
        "cancel_at": cancel_time(new.cancel_after, now),
        "motion_key": new.motion.key if new.motion else None,
        "motion_digest": new.motion.digest if new.motion else None,
        "batch_id": new.batch_id,
        "batch_place": new.batch_place,
        "trace": new.trace,
        "finished_takes": [],
        "outputs": [],
        "partner_person": _other_person(new.request.people),
        "consent": new.consent,
        "partner_consent": new.partner_consent,
        "warnings": [asdict(warning) for warning in new.warnings],
    }


def _other_person(people: Sequence[str]) -> str | None:
    """Return the second person, if that is another one than the first."""
    return people[-1] if people[-1] != people[0] else None
