"""The process of a worker: a Celery app whose one task empties the queue of jobs.

One process for each GPU, pool "solo": nothing forks, so torch and CUDA live where they were
started. A message only wakes, so one that is lost while the worker is busy costs nothing: it looks
for the next job by itself before it sleeps again.
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
from worker.process.job import JobContext, run
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import StopRequest
from worker.process.retry import RetryingStorage, with_retries
from worker.process.scratch import job_noted, scratch_room
from worker.process.watchdog import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery import Celery

    from jobs.model import FinishedTake, Job, Output
    from jobs.settings import Settings
    from jobs.storage.factory import Storage
    from jobs.store.attempts import AttemptStore
    from worker.pipeline.container import Encoder
    from worker.process.progress import Reporter

logger = logging.getLogger(__name__)

BROKEN_DEVICE = 70  # exit status: whoever watches over this process starts a new one


@dataclass(frozen=True)
class WorkerContext:
    """Everything that one worker process works with, opened once."""

    store: AttemptStore
    storage: Storage
    people: PersonCache
    device: torch.device
    encoder: Encoder
    scratch: Path
    leave: StopRequest
    limits: Limits

    def attempt(self, job: Job) -> AttemptOutcome:
        """One attempt at a claimed job."""
        with job_noted(self.scratch, job.id, job.attempt):
            return attempt(job, self._work, store=self.store, leave=self.leave, limits=self.limits)

    def obstacle(self) -> str | None:
        """Why a job would fail here now."""
        return obstacle(self.scratch, self.storage)

    def _work(self, job: Job, report: Reporter) -> list[Output]:
        def keep_motion(key: str, digest: str) -> bool:
            return with_retries(
                lambda: self.store.checkpoint(job.id, job.attempt, motion_key=key, digest=digest),
                report.pause,
            )

        def keep_takes(takes: Sequence[FinishedTake]) -> bool:
            return with_retries(
                lambda: self.store.keep_takes(job.id, job.attempt, takes), report.pause
            )

        with tempfile.TemporaryDirectory(prefix="job-", dir=self.scratch) as folder:
            context = JobContext(
                files=RetryingStorage(self.storage, report.pause),
                person_named=self.people.get,
                keep_motion=keep_motion,
                keep_takes=keep_takes,
                encoder=self.encoder,
                scratch=Path(folder),
            )
            try:
                return run(job, context, report)
            except torch.OutOfMemoryError:
                self.people.clear()  # the next attempt has the memory of others for itself
                raise


def run_worker(settings: Settings) -> int:
    """Work until a signal; answers the exit status. DeviceError where the device is not there."""
    leave = StopRequest()
    name = f"{socket.gethostname()}-{os.getpid()}"
    with ExitStack() as stack:
        device = start(settings)
        store = stack.enter_context(closing(open_database(settings))).attempts
        bench = WorkerContext(
            store=store,
            storage=stack.enter_context(closing(open_storage(settings))),
            people=PersonCache(
                settings.people,
                load=lambda folder: load_models(folder, device=device, settings=settings),
            ),
            device=device,
            encoder=choose_encoder(device.type),
            scratch=stack.enter_context(
                scratch_room(settings.scratch, orphaned=partial(put_back_orphan, store))
            ),
            leave=leave,
            limits=Limits(settings.stage_seconds),
        )
        shift = ClaimLoop(
            bench.store, bench.attempt, worker=name, leave=leave, obstacle=bench.obstacle
        )
        app = stack.enter_context(closing(make_celery(settings)))
        return _consume(app, settings, name, lambda: _look(shift, bench, app), leave)


def put_back_orphan(store: AttemptStore, job_id: str, attempt: int) -> None:
    """What a worker had that died on this machine need not wait for the end of its lease."""
    try:
        if store.release(job_id, attempt, f"attempt {attempt} ended with its worker"):
            logger.warning("job of a dead worker put back", extra={"job": job_id})
    except SQLAlchemyError as error:  # then the reaper does it
        logger.warning("job of a dead worker not put back", extra={"reason": str(error)})


def _look(shift: ClaimLoop, bench: WorkerContext, app: Celery) -> None:
    """What a wake-up means."""
    endings = shift.run()
    if AttemptOutcome.BROKEN in endings and not works(bench.device):
        logger.error("the device computes no more; this process ends, a new one may do better")
        state.should_stop = BROKEN_DEVICE  # type: ignore[assignment]
    if AttemptOutcome.HANDED_BACK in endings:
        wake(app, "handed-back")  # another worker need not wait for the reaper


def _consume(
    app: Celery, settings: Settings, name: str, look: Callable[[], None], leave: StopRequest
) -> int:
    @app.task(name=WAKE)
    def woken(job_id: str) -> None:
        look()

    def configure_logging(**_: Any) -> None:
        logs.configure(settings)

    def drain_at_start(**_: Any) -> None:
        wake(app, "start")

    def leave_now(**_: Any) -> None:
        leave.ask()  # in a signal handler: a plain flag and nothing else

    signals.setup_logging.connect(configure_logging)
    signals.worker_ready.connect(drain_at_start)
    signals.worker_shutting_down.connect(leave_now)
    warnings.simplefilter("ignore", SecurityWarning)  # about root and pickle; we take JSON only
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
