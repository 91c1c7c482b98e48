"""One attempt at a job: its work under a lease, and the single write of its outcome."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs.model import new_job_id
from worker.process.faults.failures import POLICIES, FailureClass, classify, stage_timeout
from worker.process.liveness.lease import Lease
from worker.process.outcomes import AttemptOutcome, LeaseLost, ShutdownRequested, StageStuck
from worker.process.progress import Reporter
from worker.process.retry import with_retries
from worker.process.watchdog import Limits, Watchdog, exit_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.model import Job, Output
    from jobs.store.attempts import AttemptStore
    from worker.process.faults.failures import Failure
    from worker.process.faults.health import Obstacle
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
    obstacle: Callable[[], Obstacle | None] = lambda: None,
    exit_process: Callable[[], None] = exit_at_once,
) -> AttemptOutcome:
    """Do `work` for a claimed job and write its outcome; errors of the job are not raised.

    obstacle: the health check of the worker.
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
            outcome = _work(job, work, report, store, obstacle)
        except SQLAlchemyError as error:  # the claim loop puts the job back later
            logger.warning("database away at the end", extra={"reason": str(error)})
            outcome = AttemptOutcome.OUTAGE
        logger.info("job ends", extra={"ending": str(outcome)})
    return outcome


def _work(
    job: Job,
    work: Work,
    report: Reporter,
    store: AttemptStore,
    obstacle: Callable[[], Obstacle | None],
) -> AttemptOutcome:
    try:
        outputs = work(job, report)
        held = with_retries(lambda: store.succeed(job.id, job.attempt, outputs), report.pause)
    except LeaseLost as error:
        logger.warning("job lost", extra={"reason": str(error)})
        return AttemptOutcome.LEASE_LOST
    except ShutdownRequested as error:
        held = store.release(job.id, job.attempt, str(error), counts=False, cause="shutdown")
        return AttemptOutcome.HANDED_BACK if held else AttemptOutcome.LEASE_LOST
    except StageStuck as error:
        return _end(job, error, stage_timeout(error), store)
    except Exception as error:
        return _end(job, error, classify(error, obstacle), store)
    return AttemptOutcome.PUBLISHED if held else AttemptOutcome.LEASE_LOST


def _release_stuck(job: Job, store: AttemptStore, error: StageStuck) -> None:
    """Release the job from the watchdog's thread, while the thread of the attempt hangs."""
    _end(job, error, stage_timeout(error), store)


def _end(job: Job, error: Exception, failure: Failure, store: AttemptStore) -> AttemptOutcome:
    """Write the end of a failed attempt as the policy of its class says."""
    facts = {"class": str(failure.kind), "code": failure.code}
    if failure.kind is FailureClass.CALLER:
        logger.info("job refused", extra={**facts, "reason": failure.reason})
        store.fail(job.id, job.attempt, failure.code, failure.reason)
        return failure.outcome
    reason = failure.reason
    if failure.outcome is AttemptOutcome.INTERNAL_ERROR:
        incident = new_job_id()[-12:]
        logger.error("internal error", exc_info=error, extra={**facts, "incident": incident})
        reason = f"{reason}; report incident {incident}"
    else:
        logger.warning("job put back", extra={**facts, "reason": str(error)})
    policy = POLICIES[failure.kind]
    store.release(
        job.id,
        job.attempt,
        reason,
        counts=policy.counts,
        code=failure.code,
        pause_seconds=policy.pause_seconds,
        most=failure.most,
        cause=failure.cause,
    )
    return failure.outcome
