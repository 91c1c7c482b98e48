"""Resources of one worker process, and one attempt at a job with them."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from contracts.avatar_kinds import AVATAR_KINDS
from contracts.files import private_folder
from jobs.database import open_database
from jobs.maintenance.storage_root import check_owner, prepare_storage
from jobs.queue.session_locks import SessionLock
from jobs.sandbox.manifests import FOLDER
from jobs.storage.factory import open_storage
from jobs.telemetry.metrics import Process
from jobs.telemetry.prometheus import serving_metrics
from jobs.telemetry.traces import tracing
from worker.pipeline.device import start
from worker.pipeline.media.encode import choose_encoder
from worker.pipeline.media.watermark import watermark_of
from worker.pipeline.persons import PersonCache, load_models
from worker.process.attempt import attempt
from worker.process.faults.health import HealthCheck
from worker.process.job import JobContext, run
from worker.process.liveness.orphans import release_orphan
from worker.process.retry import RetryingStorage, with_retries
from worker.process.scratch import recorded_job, scratch_folder
from worker.process.telemetry import WorkerState, WorkerTelemetry
from worker.process.together.turns import Turns
from worker.process.watchdog import Limits
from worker.provenance.manifest import open_signer
from worker.time_left.rates import MachineRates, machine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack

    from contracts.provenance import Origin
    from jobs.model import FinishedTake, Job, JobWarning, Output
    from jobs.request.model import JobRequest
    from jobs.settings import Settings
    from jobs.storage.factory import Storage
    from jobs.store.attempts import AttemptStore
    from worker.pipeline.media.container import Encoder
    from worker.pipeline.media.watermark import Watermark
    from worker.process.outcomes import AttemptOutcome
    from worker.process.progress import Reporter, StopRequest
    from worker.process.scratch import ScratchFolder
    from worker.process.telemetry import AttemptTelemetry
    from worker.provenance.manifest import ManifestSigner
    from worker.time_left.costs import Cost


@dataclass(frozen=True)
class WorkerContext:
    """Resources of one worker process, opened once."""

    store: AttemptStore
    storage: Storage
    people: PersonCache
    encoder: Encoder
    signer: ManifestSigner | None
    use: str | None
    watermark_of: Callable[[JobRequest, Origin], Watermark | None]
    scratch: ScratchFolder
    locks: SessionLock
    health: HealthCheck
    stop: StopRequest
    limits: Limits
    telemetry: WorkerTelemetry
    rates: MachineRates
    turns: Turns

    def attempt(self, job: Job) -> AttemptOutcome:
        """Run one attempt at a claimed job."""
        with (
            recorded_job(self.scratch.path, job.id, job.attempt),
            self.telemetry.attempt(job) as measured,
        ):
            outcome = attempt(
                job,
                partial(self._work, measured),
                store=self.store,
                stop=self.stop,
                limits=self.limits,
                obstacle=self.health.obstacle,
            )
            measured.end(outcome)
            return outcome

    def _work(self, measured: AttemptTelemetry, job: Job, report: Reporter) -> list[Output]:
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

        def record_watermark(watermark: str) -> bool:
            return with_retries(
                lambda: self.store.record_watermark(job.id, job.attempt, watermark), report.pause
            )

        def record_outputs(outputs: Sequence[Output]) -> bool:
            return with_retries(
                lambda: self.store.record_outputs(job.id, job.attempt, outputs), report.pause
            )

        def record_takes(takes: Sequence[FinishedTake]) -> bool:
            return with_retries(
                lambda: self.store.record_takes(job.id, job.attempt, takes), report.pause
            )

        def expect(costs: Mapping[str, Cost]) -> None:
            report.time_left.expect(costs, self.rates.of(job.request.people))

        with tempfile.TemporaryDirectory(
            prefix="job-", dir=self.scratch.path, ignore_cleanup_errors=True
        ) as folder:
            context = JobContext(
                files=RetryingStorage(self.storage, report.pause),
                person_named=self.people.get,
                record_motion=record_motion,
                record_warnings=record_warnings,
                record_takes=record_takes,
                record_outputs=record_outputs,
                expect=expect,
                encoder=self.encoder,
                signer=self.signer,
                use=self.use,
                scratch=Path(folder),
                watermark_of=self.watermark_of,
                record_watermark=record_watermark,
                turn=self.turns.turn,
            )
            try:
                outputs = run(job, context, measured.watching(report))
                self.rates.learn(job.request.people, report.time_left.rates)
            except torch.OutOfMemoryError:
                self.people.clear()  # the next attempt has the memory of other persons
                raise
            else:
                return outputs
            finally:
                measured.record_usage()  # before the outcome, whose webhook may show it


def open_context(
    settings: Settings, name: str, stop: StopRequest, stack: ExitStack
) -> WorkerContext:
    """Open what the settings name; `stack` closes it. name: of the worker.

    The jobs of workers that have died on this machine or under this name are put back first.
    """
    signer = open_signer(settings, settings.data / FOLDER)  # a wrong key ends the start
    private_folder(settings.data)  # for keys that this machine makes
    settings.marking_key()
    device = start(settings)
    for kind in AVATAR_KINDS:
        kind.prepare()
    stack.enter_context(tracing(settings, "visavis-worker"))
    database = stack.enter_context(closing(open_database(settings)))
    storage = stack.enter_context(closing(open_storage(settings)))
    prepare_storage(database.engine, storage)
    on_orphan = partial(release_orphan, database.attempts)
    scratch = stack.enter_context(scratch_folder(settings.scratch, on_orphan=on_orphan))
    locks = stack.enter_context(closing(SessionLock(database.engine, name)))
    for job_id, number in locks.take():
        on_orphan(job_id, number)
    shown = WorkerState(device, lambda: database.pauses.covering(name).everything)
    stack.enter_context(serving_metrics(settings, Process.WORKER, shown))
    encoder = choose_encoder(device.type)
    return WorkerContext(
        store=database.attempts,
        storage=storage,
        people=PersonCache(
            settings.people,
            load=lambda folder: load_models(folder, device=device, settings=settings),
        ),
        encoder=encoder,
        signer=signer,
        use=settings.use,
        watermark_of=partial(watermark_of, settings),
        scratch=scratch,
        locks=locks,
        health=HealthCheck(
            scratch,
            storage,
            check_owner=partial(check_owner, database.engine),
            people=settings.people,
            device=device,
            encoder=encoder,
        ),
        stop=stop,
        limits=Limits(settings.stage_seconds),
        telemetry=WorkerTelemetry.of(settings, database.attempts, name, device),
        rates=MachineRates(database.stage_rates, machine_of(device)),
        turns=Turns(),
    )
