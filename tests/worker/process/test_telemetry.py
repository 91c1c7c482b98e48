"""Stages, device time, cost and spans of attempts, with a manual clock."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import structlog
import torch
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobs.database import Database
from jobs.model import Job
from jobs.telemetry.prometheus import REGISTRY
from jobs.telemetry.trace_context import in_trace
from jobs.telemetry.traces import Span, make_provider, recording
from tests.jobs.rows import claim, submit
from worker.process.liveness.background_thread import BackgroundThread
from worker.process.outcomes import AttemptOutcome
from worker.process.telemetry import AttemptTelemetry, SharedClock, WorkerTelemetry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


class Seconds:
    """Clock of an attempt."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def job(database: Database) -> Job:
    with in_trace(PARENT):
        submit(database, tenant="acme", person="sam")
    return claim(database, "worker-1")


def telemetry(database: Database, cost_per_hour: float = 0.0) -> WorkerTelemetry:
    device = torch.device("cpu")
    return WorkerTelemetry(database.attempts, "worker-1", device, cost_per_hour, "EUR")


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_stage_that_is_entered_twice_is_one_observation(job: Job) -> None:
    clock = Seconds()
    count = {"stage": "render", "person": "sam"}
    before = [value(f"visavis_stage_seconds_{part}", **count) for part in ("count", "sum")]
    measured = AttemptTelemetry(job, Span(None), lambda seconds: None, now=clock)
    progress = measured.watching(lambda stage, fraction: None)
    for stage, seconds in (("face", 2.0), ("render", 1.0), ("publish", 0.5), ("render", 3.0)):
        progress(stage, 0.0)
        clock.now += seconds
    measured.close()

    after = [value(f"visavis_stage_seconds_{part}", **count) for part in ("count", "sum")]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 4.0]


def test_device_time_is_recorded_every_few_seconds(job: Job) -> None:
    clock, recorded = Seconds(), list[float]()
    measured = AttemptTelemetry(job, Span(None), recorded.append, now=clock)
    progress = measured.watching(lambda stage, fraction: None)
    for _ in range(14):
        clock.now += 1.0
        progress("render", 0.1)
    measured.record_usage()

    assert recorded == [5.0, 10.0, 14.0]


def test_usage_adds_up_over_attempts_and_has_the_price_of_each(
    database: Database, job: Job
) -> None:
    priced = telemetry(database, cost_per_hour=3600.0)
    database.attempts.record_usage(job.id, job.attempt, priced.usage(job, 2.0))
    database.attempts.release(job.id, job.attempt, "the worker died")
    again = claim(database)
    database.attempts.record_usage(again.id, again.attempt, priced.usage(again, 3.0))

    stored = database.jobs.get(job.id)
    assert (stored.device, stored.device_seconds) == ("cpu", 5.0)
    assert (stored.cost, stored.currency) == (pytest.approx(5.0), "EUR")


def test_an_attempt_that_was_replaced_records_no_device_time(database: Database, job: Job) -> None:
    database.attempts.release(job.id, job.attempt, "the worker died")
    claim(database)

    assert not database.attempts.record_usage(
        job.id, job.attempt, telemetry(database).usage(job, 9.0)
    )
    assert database.jobs.get(job.id).device_seconds == 0.0


def test_without_a_price_there_is_no_cost(database: Database, job: Job) -> None:
    usage = telemetry(database).usage(job, 4.0)
    kept = telemetry(database).usage(replace(job, cost=1.5, currency="USD"), 4.0)

    assert (usage.device_seconds, usage.cost, usage.currency) == (4.0, None, None)
    assert (kept.cost, kept.currency) == (1.5, "USD")


def test_spans_of_an_attempt_continue_the_trace_of_its_request(
    database: Database, job: Job
) -> None:
    exporter = InMemorySpanExporter()
    provider = make_provider("worker")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with recording(provider), telemetry(database).attempt(job) as measured:
        progress = measured.watching(lambda stage, fraction: None)
        for stage in ("decode", "face"):
            progress(stage, 0.0)
        bound = structlog.contextvars.get_contextvars()
        measured.end(AttemptOutcome.USER_ERROR)

    spans = {each.name: each for each in exporter.get_finished_spans()}
    provider.shutdown()
    attempt = spans["attempt"]
    assert set(spans) == {"attempt", "stage decode", "stage face"}
    assert {f"{each.context.trace_id:032x}" for each in spans.values() if each.context} == {TRACE}
    assert attempt.parent is not None
    assert attempt.context is not None
    assert f"{attempt.parent.span_id:016x}" == PARENT["traceparent"].split("-")[2]
    assert attempt.attributes is not None
    assert attempt.attributes["visavis.outcome"] == "refused"
    assert not attempt.status.is_ok
    for name in ("stage decode", "stage face"):
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == attempt.context.span_id
    assert {name: bound[name] for name in ("job", "tenant", "person", "attempt", "worker")} == {
        "job": job.id,
        "tenant": "acme",
        "person": "sam",
        "attempt": 1,
        "worker": "worker-1",
    }
    assert (bound["trace_id"], bound["stage"]) == (TRACE, "face")
    assert structlog.contextvars.get_contextvars() == {}


def test_threads_of_an_attempt_log_the_ids_of_its_job(database: Database, job: Job) -> None:
    bound: dict[str, Any] = {}
    done = threading.Event()

    class Thread(BackgroundThread):
        def _run(self) -> None:
            bound.update(structlog.contextvars.get_contextvars())
            done.set()

    with telemetry(database).attempt(job), Thread("lease"):
        assert done.wait(10)

    assert (bound["job"], bound["trace_id"]) == (job.id, TRACE)


def test_attempts_at_the_same_time_share_the_seconds_of_the_device(job: Job) -> None:
    wall = Seconds()
    clock = SharedClock(wall)

    def measured(recorded: list[float]) -> AttemptTelemetry:
        return AttemptTelemetry(job, Span(None), recorded.append, now=wall, device_now=clock.now)

    one, two = list[float](), list[float]()
    with clock.sharing():
        first = measured(one)
        wall.now += 4.0  # alone
        with clock.sharing():
            second = measured(two)
            wall.now += 5.0
            second.record_usage()
        wall.now += 3.0
        first.record_usage()

    assert (one, two) == ([4.0 + 2.5 + 3.0], [2.5])
    assert not clock.shared
