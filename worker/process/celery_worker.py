"""The worker process: a Celery app with one task, which claims jobs until the queue is empty.

One process per GPU, pool "solo": nothing forks, so torch and CUDA stay in the process that started
them. A message is only a wake-up. Losing one while the worker is busy costs nothing, because the
worker claims the next job before it waits again.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import warnings
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from celery import signals
from celery.exceptions import SecurityWarning
from celery.worker import state
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import open_database
from jobs.queue.celery_app import WAKE, make_celery, wake
from jobs.storage.factory import open_storage
from jobs.telemetry import logging as logs
from worker.pipeline.device import start, works
from worker.pipeline.encode import choose_encoder
from worker.pipeline.persons import PersonCache, load_models
from worker.process.attempt import attempt
from worker.process.claim_loop import ClaimLoop
from worker.process.health import obstacle
from worker.process.heartbeat import Heartbeat
from worker.process.job import JobContext, run
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest
from worker.process.retry import RetryingStorage, with_retries
from worker.process.scratch import recorded_job, scratch_folder
from worker.process.watchdog import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery import Celery

    from jobs.model import FinishedTake, Job, JobWarning, Output
    from jobs.settings import Settings
    from jobs.storage.factory import Storage
    from jobs.store.attempts import AttemptStore
    from worker.pipeline.container import Encoder
    from worker.process.progress import Reporter

logger = logging.getLogger(__name__)

MAX_PASSES = 32  # of a wake-up between workers of some people; the reaper sends another one
BROKEN_DEVICE = 70  # exit status; a supervisor should start a new process


@dataclass(frozen=True)
class WorkerContext:
    """Resources of one worker process, opened once."""

    store: AttemptStore
    storage: Storage
    people: PersonCache
    device: torch.device
    encoder: Encoder
    scratch: Path
    stop: StopRequest
    limits: Limits

    def attempt(self, job: Job) -> AttemptOutcome:
        """Run one attempt at a claimed job."""
        with recorded_job(self.scratch, job.id, job.attempt):
            return attempt(job, self._work, store=self.store, stop=self.stop, limits=self.limits)

    def obstacle(self) -> str | None:
        """Return the reason why a job would fail on this worker now, or None."""
        return obstacle(self.scratch, self.storage)

    def _work(self, job: Job, report: Reporter) -> list[Output]:
        def record_motion(key: str, digest: str) -> bool:
            return with_retries(
                lambda: self.store.record_motion(
                    job.id, job.attempt, motion_key=key, digest=digest
                ),
                report.pause,
            )

        def record_warnings(warnings: Sequence[JobWarning]) -> bool:
            return with_retries(
                lambda: self.store.record_warnings(job.id, job.attempt, warnings), report.pause
            )

        def record_takes(takes: Sequence[FinishedTake]) -> bool:
            return with_retries(
                lambda: self.store.record_takes(job.id, job.attempt, takes), report.pause
            )

        with tempfile.TemporaryDirectory(prefix="job-", dir=self.scratch) as folder:
            context = JobContext(
                files=RetryingStorage(self.storage, report.pause),
                person_named=self.people.get,
                record_motion=record_motion,
                record_warnings=record_warnings,
                record_takes=record_takes,
                encoder=self.encoder,
                scratch=Path(folder),
            )
            try:
                return run(job, context, report)
            except torch.OutOfMemoryError:
                self.people.clear()  # the next attempt has the memory of other persons
                raise


def run_worker(settings: Settings) -> int:
    """Work until a signal and return the exit status.

    Raises: DeviceError: when the device does not exist.
    """
    stop = StopRequest()
    name = f"{socket.gethostname()}-{os.getpid()}"
    with ExitStack() as stack:
        device = start(settings)
        store = stack.enter_context(closing(open_database(settings))).attempts
        context = WorkerContext(
            store=store,
            storage=stack.enter_context(closing(open_storage(settings))),
            people=PersonCache(
                settings.people,
                load=lambda folder: load_models(folder, device=device, settings=settings),
            ),
            device=device,
            encoder=choose_encoder(device.type),
            scratch=stack.enter_context(
                scratch_folder(settings.scratch, on_orphan=partial(release_orphan, store))
            ),
            stop=stop,
            limits=Limits(settings.stage_seconds),
        )
        claim_loop = ClaimLoop(
            store,
            context.attempt,
            worker=name,
            stop=stop,
            people=settings.worker_people,
            obstacle=context.obstacle,
        )
        app = stack.enter_context(closing(make_celery(settings)))

        def beat(**_: Any) -> None:
            stack.enter_context(Heartbeat(context.scratch))

        signals.worker_ready.connect(beat)
        return _consume(app, settings, name, lambda: _wake_up(claim_loop, context, app), stop)


def release_orphan(store: AttemptStore, job_id: str, attempt: int) -> None:
    """Release the job of a dead worker on this machine before its lease expires."""
    try:
        if store.release(job_id, attempt, f"the worker of attempt {attempt} died"):
            logger.warning("job of a dead worker put back", extra={"job": job_id})
    except SQLAlchemyError as error:  # the reaper releases it later
        logger.warning("job of a dead worker not put back", extra={"reason": str(error)})


def _wake_up(claim_loop: ClaimLoop, context: WorkerContext, app: Celery) -> bool:
    """Claim jobs until the queue is empty, then end the process if its device is broken.

    Returns whether a job was claimed.
    """
    outcomes = claim_loop.run()
    if AttemptOutcome.INTERNAL_ERROR in outcomes and not works(context.device):
        logger.error("the device computes no more; this process ends, a new one may do better")
        state.should_stop = BROKEN_DEVICE  # type: ignore[assignment]
    if AttemptOutcome.HANDED_BACK in outcomes:
        wake(app, "handed-back")  # another worker can claim it without waiting for the reaper
    return bool(outcomes)


def _consume(
    app: Celery, settings: Settings, name: str, wake_up: Callable[[], bool], stop: StopRequest
) -> int:
    @app.task(name=WAKE, shared=False)
    def woken(job_id: str, passed_on: int = 0) -> None:
        claimed = wake_up()
        if settings.worker_people and not claimed and passed_on < MAX_PASSES:
            wake(app, job_id, passed_on + 1)  # it may concern other people; Redis gives it to
            # the worker that has waited longest, and this one waits again only after this

    def configure_logging(**_: Any) -> None:
        logs.configure(settings)

    def stop_soon(**_: Any) -> None:
        stop.request()  # it runs in a signal handler, so it only sets a flag

    def drain_at_start(**_: Any) -> None:
        wake(app, "start")

    signals.setup_logging.connect(configure_logging)
    signals.worker_ready.connect(drain_at_start)
    signals.worker_shutting_down.connect(stop_soon)
    warnings.simplefilter("ignore", SecurityWarning)  # about root and pickle; only JSON is accepted
    worker = app.Worker(
        hostname=f"worker@{name}",
        pool_cls="solo",
        concurrency=1,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
