"""One attempt at a job: the work, under a lease, and the one write that ends it."""

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
    stuck_at,
)
from worker.process.progress import Reporter
from worker.process.retry import is_outage, with_retries
from worker.process.watchdog import Limits, Watchdog, leave_at_once

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
    leave: StopRequest,
    limits: Limits | None = None,
    give_up: Callable[[], None] = leave_at_once,
) -> AttemptOutcome:
    """Do `work` for a claimed job and write what became of it. Raises nothing of the job's.

    give_up: ends the process, where a stage hangs and its thread cannot be interrupted.
    """
    renew = partial(store.renew, job.id, job.attempt)
    seconds = store.lease_seconds
    limits = limits or Limits()
    watchdog = Watchdog(
        limits.for_clip(job.clip_seconds),
        grace_seconds=limits.grace_seconds,
        put_back=partial(_put_back_stuck, job, store),
        leave=give_up,
    )
    with (
        structlog.contextvars.bound_contextvars(job=job.id, attempt=job.attempt),
        Lease(renew, seconds=seconds) as lease,
        watchdog,
    ):
        logger.info("job begins", extra={"clip_seconds": job.clip_seconds})
        write = partial(store.progress, job.id, job.attempt)
        report = Reporter(write, lost=lease.lost, leave=leave, watchdog=watchdog)
        try:
            ending = _worked(job, work, report, store)
        except SQLAlchemyError as error:  # nothing can be written: the lease runs out by itself
            logger.warning("database away at the end", extra={"reason": str(error)})
            ending = AttemptOutcome.AWAY
        logger.info("job ends", extra={"ending": str(ending)})
    return ending


def _worked(job: Job, work: Work, report: Reporter, store: AttemptStore) -> AttemptOutcome:
    try:
        outputs = work(job, report)
        held = with_retries(lambda: store.succeed(job.id, job.attempt, outputs), report.pause)
    except LeaseLost as error:
        logger.warning("job lost", extra={"reason": str(error)})
        return AttemptOutcome.LOST
    except ShutdownRequested as error:
        held = store.release(job.id, job.attempt, str(error), counts=False)
        return AttemptOutcome.HANDED_BACK if held else AttemptOutcome.LOST
    except StageStuck as error:
        return _set_back(job, error, stuck_at(error), store)
    except Exception as error:
        if is_outage(error):
            return _put_back(job, error, store)
        if (setback := resource_failure_of(error)) is not None:
            return _set_back(job, error, setback, store)
        return _failed(job, error, store)
    return AttemptOutcome.PUBLISHED if held else AttemptOutcome.LOST


def _put_back(job: Job, error: Exception, store: AttemptStore) -> AttemptOutcome:
    logger.warning("job put back", extra={"reason": str(error)})
    reason = "storage or database did not answer"
    store.release(job.id, job.attempt, reason, counts=False)
    return AttemptOutcome.AWAY


def _put_back_stuck(job: Job, store: AttemptStore, error: StageStuck) -> None:
    """From the watchdog's thread, while that of the attempt hangs."""
    _set_back(job, error, stuck_at(error), store)


def _set_back(
    job: Job, error: Exception, setback: ResourceFailure, store: AttemptStore
) -> AttemptOutcome:
    logger.error("job set back", extra={"code": setback.code, "reason": str(error)})
    store.release(job.id, job.attempt, setback.reason, code=setback.code)
    return AttemptOutcome.SET_BACK


def _failed(job: Job, error: Exception, store: AttemptStore) -> AttemptOutcome:
    if (refusal := user_error_of(error)) is not None:
        logger.info("job refused", extra={"code": refusal.code, "reason": refusal.sentence})
        store.fail(job.id, job.attempt, refusal.code, refusal.sentence)
        return AttemptOutcome.REFUSED
    incident = new_job_id()[-12:]
    logger.error("internal error", exc_info=error, extra={"incident": incident})
    store.release(job.id, job.attempt, f"an internal error, report incident {incident}")
    return AttemptOutcome.BROKEN
