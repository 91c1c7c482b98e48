"""Metrics from the database, compared with what the stores wrote."""

from pathlib import Path

import pytest

from jobs.database import Database
from jobs.db.engine import connect
from jobs.model import State
from jobs.queue.pauses import PauseScope, PauseTarget
from jobs.telemetry.job_counts import JobCounts
from tests.clock import Clock
from tests.jobs.rows import claim, submit


def values(counts: JobCounts) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in counts.collect()
    }


def test_jobs_are_counted_by_state_person_and_tenant_class(
    database: Database, clock: Clock
) -> None:
    database.tenants.set_own("studio", {"jobs_in_flight": 5})
    submit(database, tenant="studio", person="ada")
    submit(database, tenant="acme")
    submit(database)
    claimed = claim(database)
    database.attempts.fail(claimed.id, claimed.attempt, "clip_silent", "The clip is silent.")
    clock.advance(90)

    found = values(JobCounts(database.engine, clock))

    assert sum(found["visavis_jobs"].values()) == 3
    assert found["visavis_jobs"][State.FAILED, claimed.request.person, "custom"] == 1
    assert found["visavis_jobs"][State.QUEUED, "demo", "default"] == 1
    assert found["visavis_jobs"][State.QUEUED, "demo", "local"] == 1
    assert found["visavis_queue_oldest_seconds"] == {(): pytest.approx(90, abs=1e-3)}
    assert found["visavis_database_up"] == {(): 1.0}


def test_the_age_of_a_retried_job_starts_with_the_retry(database: Database, clock: Clock) -> None:
    job = submit(database)
    database.jobs.cancel(job.id)
    clock.advance(600)
    database.jobs.retry(job.id)
    clock.advance(7)

    found = values(JobCounts(database.engine, clock))
    assert found["visavis_queue_oldest_seconds"] == {(): pytest.approx(7, abs=1e-3)}


def test_pauses_and_the_jobs_that_wait_for_their_end_are_counted(
    database: Database, clock: Clock
) -> None:
    for tenant, person in (("acme", "ada"), ("acme", "demo"), ("other", "ada"), ("other", "demo")):
        submit(database, tenant=tenant, person=person)
    database.pauses.pause(PauseTarget(PauseScope.TENANT, "acme"))
    database.pauses.pause(PauseTarget(PauseScope.PERSON, "ada"))
    database.pauses.pause(PauseTarget(PauseScope.WORKER, "gpu-1"))

    found = values(JobCounts(database.engine, clock))

    assert found["visavis_pauses"] == {
        ("all",): 0, ("tenant",): 1, ("person",): 1, ("worker",): 1,
    }  # fmt: skip
    assert found["visavis_jobs_paused"] == {(): 3.0}
    database.pauses.pause(PauseTarget(PauseScope.ALL))
    assert values(JobCounts(database.engine, clock))["visavis_jobs_paused"] == {(): 4.0}


def test_counts_are_read_again_only_after_a_while(database: Database, clock: Clock) -> None:
    time = 0.0
    counts = JobCounts(database.engine, clock, now=lambda: time)
    before = values(counts)
    submit(database)

    assert values(counts) == before
    time = 60.0
    assert values(counts) != before


def test_without_the_database_only_its_absence_is_reported(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/empty.db")

    assert values(JobCounts(engine)) == {"visavis_database_up": {(): 0.0}}
    engine.dispose()
