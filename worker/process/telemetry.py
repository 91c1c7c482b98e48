"""Metrics, spans, device time and log fields of a worker and its attempts."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import torch
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.exc import SQLAlchemyError

from jobs.model import Usage
from jobs.telemetry import traces
from jobs.telemetry.metrics import (
    ATTEMPTS,
    DEVICE_SECONDS,
    GPU_MEMORY_TOTAL,
    GPU_MEMORY_USED,
    STAGE_SECONDS,
    WORKER_BUSY,
    WORKER_INFO,
    WORKER_PAUSED,
)
from jobs.telemetry.prometheus import count, observe, put
from jobs.telemetry.traces import Kind, Span, span, start_span
from worker.process.outcomes import AttemptOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobs.model import Job
    from jobs.settings import Settings
    from jobs.store.attempts import AttemptStore
    from worker.pipeline.progress import Progress

logger = logging.getLogger(__name__)

USAGE_SECONDS = 5.0  # between two records of device time; a worker that is killed loses these
HOUR = 3600.0
ORDERLY = (AttemptOutcome.PUBLISHED, AttemptOutcome.HANDED_BACK)


@dataclass(frozen=True)
class WorkerTelemetry:
    """Measurements of one worker process."""

    store: AttemptStore
    worker: str
    device: torch.device
    cost_per_hour: float
    currency: str
    clock: SharedClock = field(default_factory=lambda: SharedClock())

    @classmethod
    def of(
        cls, settings: Settings, store: AttemptStore, worker: str, device: torch.device
    ) -> WorkerTelemetry:
        """Create it with the price of the settings, and describe the worker in its metrics."""
        people = ",".join(settings.worker_people)
        put(WORKER_INFO, 1, worker=worker, device=device.type, people=people)
        return cls(store, worker, device, settings.cost_per_hour, settings.cost_currency)

    @contextmanager
    def attempt(self, job: Job) -> Iterator[AttemptTelemetry]:
        """Measure one attempt: a span, busy time, and the ids of the job in every log line."""
        facts: dict[str, traces.Value] = {
            traces.JOB: job.id,
            traces.TENANT: job.tenant,
            traces.PERSON: job.request.person,
            traces.ATTEMPT: job.attempt,
            traces.WORKER: self.worker,
        }
        ids = {name.partition(".")[2]: value for name, value in facts.items()}
        put(WORKER_BUSY, 1)
        try:
            with (
                self.clock.sharing(),
                structlog.contextvars.bound_contextvars(**ids),
                span(traces.ATTEMPT_SPAN, Kind.CONSUMER, parent=job.trace, attributes=facts) as s,
            ):
                measured = AttemptTelemetry(job, s, self._recorder(job), device_now=self.clock.now)
                try:
                    yield measured
                finally:
                    measured.close()
                    count(
                        DEVICE_SECONDS,
                        measured.seconds,
                        device=self.device.type,
                        person=job.request.person,
                    )
        finally:
            put(WORKER_BUSY, self.clock.shared)

    def usage(self, job: Job, seconds: float) -> Usage:
        """Return the device time and cost of the job after `seconds` of this attempt."""
        cost, currency = job.cost, job.currency
        if self.cost_per_hour:
            cost = (job.cost or 0.0) + seconds * self.cost_per_hour / HOUR
            currency = self.currency
        return Usage(self.device.type, job.device_seconds + seconds, cost, currency)

    def _recorder(self, job: Job) -> Callable[[float], None]:
        def record(seconds: float) -> None:
            try:
                self.store.record_usage(job.id, job.attempt, self.usage(job, seconds))
            except SQLAlchemyError as error:  # a later record includes this time
                logger.warning("device time not recorded", extra={"reason": str(error)})

        return record


class AttemptTelemetry:
    """Stages and device time of one attempt, from its claim on."""

    def __init__(
        self,
        job: Job,
        recorded: Span,
        record_usage: Callable[[float], None],
        *,
        now: Callable[[], float] = time.monotonic,
        device_now: Callable[[], float] | None = None,
    ) -> None:
        """record_usage: stores the seconds for which this attempt has held the device.

        device_now: the clock of these seconds, if other attempts share the device.
        """
        self._job = job
        self._span = recorded
        self._record_usage = record_usage
        self._now = now
        self._recorded_at = now()
        self._device_now = device_now or now
        self._began = self._device_now()
        self._stage, self._entered = "", 0.0
        self._stages: dict[str, _Stage] = {}

    @property
    def seconds(self) -> float:
        """Seconds of the device since the claim."""
        return self._device_now() - self._began

    def watching(self, progress: Progress) -> Progress:
        """Return a callback that measures stages and then calls `progress`."""

        def watched(stage: str, fraction: float) -> None:
            self._enter(stage)
            if self._now() - self._recorded_at >= USAGE_SECONDS:
                self.record_usage()
            progress(stage, fraction)

        return watched

    def record_usage(self) -> None:
        """Store the device time so far."""
        self._recorded_at = self._now()
        self._record_usage(self.seconds)

    def end(self, outcome: AttemptOutcome) -> None:
        """Note the outcome."""
        name = str(outcome).replace(" ", "_")
        count(ATTEMPTS, person=self._job.request.person, outcome=name)
        self._span.put(traces.OUTCOME, name)
        if outcome not in ORDERLY:
            self._span.fail(name)

    def close(self) -> None:
        """End the spans of all stages and observe their time."""
        self._leave()
        structlog.contextvars.unbind_contextvars("stage")
        for name, stage in self._stages.items():
            observe(STAGE_SECONDS, stage.seconds, stage=name, person=self._job.request.person)
            stage.span.end(stage.left_at)

    def _enter(self, name: str) -> None:
        if name == self._stage:
            return
        self._leave()
        self._stage, self._entered = name, self._now()
        structlog.contextvars.bind_contextvars(stage=name)
        if name not in self._stages:
            attributes: dict[str, traces.Value] = {traces.STAGE: name}
            started = start_span(f"{traces.STAGE_SPAN} {name}", attributes=attributes)
            self._stages[name] = _Stage(started)

    def _leave(self) -> None:
        if self._stage:
            stage = self._stages[self._stage]
            stage.seconds += self._now() - self._entered
            stage.left_at = time.time_ns()
            self._stage = ""


class SharedClock:
    """Clock of a device that attempts share: it runs half as fast while there are two of them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._wall = now
        self._lock = threading.Lock()
        self._attempts = 0
        self._time, self._read_at = 0.0, now()

    @property
    def shared(self) -> bool:
        """True while there is an attempt."""
        return self._attempts > 0

    def now(self) -> float:
        """Return the time; differences are an attempt's share of the device in seconds."""
        with self._lock:
            return self._advance()

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Count an attempt."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        with self._lock:
            self._advance()
            self._attempts += by

    def _advance(self) -> float:
        before, self._read_at = self._read_at, self._wall()
        self._time += (self._read_at - before) / max(1, self._attempts)
        return self._time


@dataclass
class _Stage:
    """Time of a stage; one that is entered again, such as for another take, adds to it."""

    span: Span
    seconds: float = 0.0
    left_at: int | None = None  # nanoseconds since 1970


@dataclass(frozen=True)
class WorkerState:
    """Collector of values that are read at each scrape: pauses, and the memory of the GPU."""

    device: torch.device
    paused: Callable[[], bool]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the pause if the database answers, and the memory if the device is a GPU."""
        try:
            paused = float(self.paused())
            yield GaugeMetricFamily(WORKER_PAUSED.name, WORKER_PAUSED.help, value=paused)
        except SQLAlchemyError as error:
            logger.warning("pauses not read", extra={"reason": str(error)})
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            for metric, value in ((GPU_MEMORY_USED, total - free), (GPU_MEMORY_TOTAL, total)):
                family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
                family.add_metric((str(self.device),), value)
                yield family
