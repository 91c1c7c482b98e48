"""Log lines and counters of committed changes of a job's state."""

import logging
from typing import Any

import pytest

from jobs.database import Database
from jobs.db.engine import writing
from jobs.db.tables import jobs
from jobs.model import State
from jobs.store.job_rows import end_job
from jobs.telemetry.job_events import DIED
from jobs.telemetry.prometheus import REGISTRY
from jobs.telemetry.trace_context import in_trace
from tests.jobs.rows import VIDEO, claim, submit

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def _information(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jobs.telemetry.job_events")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One server is enough: nothing here depends on it."""
    return sqlite_url


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def fact(record: logging.LogRecord, name: str) -> Any:
    return vars(record)[name]


def test_a_succeeded_job_is_counted_with_its_audio(database: Database) -> None:
    names = ("visavis_jobs_finished_total", "visavis_audio_seconds_total")
    labels = ({"state": "succeeded", "code": "", "person": "sam"}, {"person": "sam"})
    before = [value(name, **each) for name, each in zip(names, labels, strict=True)]
    submit(database, person="sam")
    job = claim(database)
    database.attempts.succeed(job.id, job.attempt, [VIDEO])

    after = [value(name, **each) for name, each in zip(names, labels, strict=True)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 2.5]
    assert value("visavis_queue_seconds_count", person="sam") >= 1


def test_the_line_of_a_lost_job_names_its_attempt_trace_and_reason(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    before = value("visavis_leases_lost_total", reason="worker_died")
    with in_trace({"traceparent": PARENT}):
        submit(database, tenant="acme", person="sam")
    job = claim(database, "worker-7")
    database.attempts.release(job.id, job.attempt, "the worker died", cause=DIED)

    (line,) = caplog.records
    assert line.message == "job requeued"
    assert {
        name: fact(line, name) for name in ("job", "tenant", "person", "attempt", "worker")
    } == {
        "job": job.id,
        "tenant": "acme",
        "person": "sam",
        "attempt": 1,
        "worker": "worker-7",
    }
    assert (fact(line, "trace_id"), fact(line, "reason")) == (PARENT[3:35], "the worker died")
    assert value("visavis_leases_lost_total", reason="worker_died") == before + 1
    assert value("visavis_jobs_requeued_total", reason="worker_died") >= 1


def test_a_change_that_is_rolled_back_is_neither_counted_nor_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    job = submit(database, person="sam")
    labels = {"state": "canceled", "code": "", "person": "sam"}
    before = value("visavis_jobs_finished_total", **labels)

    with pytest.raises(RuntimeError), writing(database.engine) as connection:
        end_job(connection, job.id, State.CANCELED, job.created_at, where=jobs.c.id == job.id)
        raise RuntimeError

    assert value("visavis_jobs_finished_total", **labels) == before
    assert caplog.records == []
    assert database.jobs.get(job.id).state is State.QUEUED
