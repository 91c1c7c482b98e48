"""One attempt at a job: its work under a lease, and the single write of its outcome."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs.model import new_job_id
from worker.pipeline.user_errors import user_error_of
from worker.process.lease import Lease
from worker.process.outcomes import (
    AttemptOutcome,
    LeaseLost,
    ShutdownRequested,
    StageStuck,
    resource_failure_of,
    stage_timeout,
)
from worker.process.progress import Reporter
from worker.process.retry import is_outage, with_retries
from worker.process.watchdog import Limits, Watchdog, exit_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.model import Job, Output
    from jobs.store.attempts import AttemptStore
    from worker.process.outcomes import ResourceFailure
    from worker.process.progress import StopRequest

    Work = Callable[[Job, Reporter], list[Output]]

logger = logging.getLogger(__name__)


def attempt(
    job: Job,
    work: Work,
    *,
    store: AttemptStore,
    stop: StopRequest,
    limits: Limits | None = None,
    exit_process: Callable[[], None] = exit_at_once,
) -> AttemptOutcome:
    """Do `work` for a claimed job and write its outcome; errors of the job are not raised.

    exit_process: called when a stage hangs and its thread cannot be interrupted.
    """
    renew = partial(store.renew, job.id, job.attempt)
    seconds = store.lease_seconds
    limits = limits or Limits()
    watchdog = Watchdog(
        limits.for_clip(job.clip_seconds),
        grace_seconds=limits.grace_seconds,
        release=partial(_release_stuck, job, store),
        exit_process=exit_process,
    )
    with (
        structlog.contextvars.bound_contextvars(job=job.id, attempt=job.attempt),
        Lease(renew, seconds=seconds) as lease,
        watchdog,
    ):
        logger.info("job begins", extra={"clip_seconds": job.clip_seconds})
        write = partial(store.progress, job.id, job.attempt)
        report = Reporter(write, lost=lease.lost, stop=stop, watchdog=watchdog)
        try:
            outcome = _work(job, work, report, store)
        except SQLAlchemyError as error:  # the outcome cannot be written: the lease expires
            logger.warning("database away at the end", extra={"reason": str(error)})
            outcome = AttemptOutcome.OUTAGE
        logger.info("job ends", extra={"ending": str(outcome)})
    return outcome


def _work(job: Job, work: Work, report: Reporter, store: AttemptStore) -> AttemptOutcome:
    try:
        outputs = work(job, report)
        held = with_retries(lambda: store.succeed(job.id, job.attempt, outputs), report.pause)
    except LeaseLost as error:
        logger.warning("job lost", extra={"reason": str(error)})
        return AttemptOutcome.LEASE_LOST
    except ShutdownRequested as error:
        held = store.release(job.id, job.attempt, str(error), counts=False)
        return AttemptOutcome.HANDED_BACK if held else AttemptOutcome.LEASE_LOST
    except StageStuck as error:
        return _resource_failure(job, error, stage_timeout(error), store)
    except Exception as error:
        if is_outage(error):
            return _outage(job, error, store)
        if (failure := resource_failure_of(error)) is not None:
            return _resource_failure(job, error, failure, store)
        return _failed(job, error, store)
    return AttemptOutcome.PUBLISHED if held else AttemptOutcome.LEASE_LOST


def _outage(job: Job, error: Exception, store: AttemptStore) -> AttemptOutcome:
    logger.warning("job put back", extra={"reason": str(error)})
    reason = "the storage or database did not respond"
    store.release(job.id, job.attempt, reason, counts=False)
    return AttemptOutcome.OUTAGE


def _release_stuck(job: Job, store: AttemptStore, error: StageStuck) -> None:
    """Release the job from the watchdog's thread, while the thread of the attempt hangs."""
    _resource_failure(job, error, stage_timeout(error), store)


def _resource_failure(
    job: Job, error: Exception, failure: ResourceFailure, store: AttemptStore
) -> AttemptOutcome:
    logger.error("job set back", extra={"code": failure.code, "reason": str(error)})
    store.release(job.id, job.attempt, failure.reason, code=failure.code)
    return AttemptOutcome.RESOURCE_FAILURE


def _failed(job: Job, error: Exception, store: AttemptStore) -> AttemptOutcome:
    if (user_error := user_error_of(error)) is not None:
        logger.info("job refused", extra={"code": user_error.code, "reason": user_error.message})
        store.fail(job.id, job.attempt, user_error.code, user_error.message)
        return AttemptOutcome.USER_ERROR
    incident = new_job_id()[-12:]
    logger.error("internal error", exc_info=error, extra={"incident": incident})
    store.release(job.id, job.attempt, f"internal error; report incident {incident}")
    return AttemptOutcome.INTERNAL_ERROR
