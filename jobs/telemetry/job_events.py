"""Log lines and metrics of changes of a job's state, in the process that committed the change."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from jobs.model import State
from jobs.telemetry import prometheus
from jobs.telemetry.metrics import (
    AUDIO_SECONDS,
    JOB_SECONDS,
    JOBS_FINISHED,
    JOBS_REQUEUED,
    JOBS_SUBMITTED,
    LEASES_LOST,
    QUEUE_SECONDS,
)
from jobs.telemetry.trace_context import trace_ids

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import RowMapping

    from jobs.model import Job

logger = logging.getLogger(__name__)

EXPIRED, DIED = "lease_expired", "worker_died"  # causes of a lost lease
LOST = {EXPIRED: "expired", DIED: DIED}


def submitted(person: str) -> None:
    """Count an accepted or retried job."""
    prometheus.count(JOBS_SUBMITTED, person=person)


def claimed(job: Job) -> None:
    """Observe the waiting time of a job at its first claim."""
    if job.started_at is not None:
        seconds = (job.started_at - (job.queued_at or job.created_at)).total_seconds()
        prometheus.observe(QUEUE_SECONDS, max(0.0, seconds), person=job.request.person)


def ended(row: RowMapping, now: datetime) -> None:
    """Log and count a job that has reached its final state; `row`: all columns."""
    state, code = State(row["state"]), row["error_code"] or ""
    if state is State.SUCCEEDED:
        prometheus.count(AUDIO_SECONDS, row["clip_seconds"], person=row["person"])
    prometheus.count(JOBS_FINISHED, state=state.value, code=code, person=row["person"])
    prometheus.observe(JOB_SECONDS, _seconds_since(row, now), state=state.value)
    facts = facts_of(row) | {"state": state.value}
    if state is not State.SUCCEEDED:
        reason = row["error_detail"] if code else "canceled by its owner"
        facts |= {"code": code, "reason": reason}
    logger.info("job ended", extra=facts)


def attempt_lost(cause: str) -> None:
    """Count the lease of an attempt whose worker stopped without a result."""
    if cause in LOST:
        prometheus.count(LEASES_LOST, reason=LOST[cause])


def requeued(row: RowMapping, reason: str, cause: str) -> None:
    """Log and count a job that went back into the queue; `row`: as it was before."""
    prometheus.count(JOBS_REQUEUED, reason=cause)
    logger.warning("job requeued", extra=facts_of(row) | {"cause": cause, "reason": reason})


def facts_of(row: RowMapping) -> dict[str, Any]:
    """Return what every log line about a job contains."""
    names = {"id": "job", "tenant": "tenant", "person": "person"}
    facts: dict[str, Any] = {shown: row[name] for name, shown in names.items()}
    facts |= {"attempt": row["attempt"], "worker": row["worker"]}
    return facts | trace_ids(row["trace"])


def _seconds_since(row: RowMapping, now: datetime) -> float:
    began = row["queued_at"] or row["created_at"]
    return max(0.0, float((now - began).total_seconds()))
