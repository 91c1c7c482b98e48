"""Jobs as their owners see them: submission, positions, statuses, ids."""

from datetime import UTC, datetime

import pytest

from jobs.database import Database, stores_on
from jobs.db.engine import connect
from jobs.model import JobStatus, NewJob, State, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from jobs.store.job_rows import JobMissing
from tests.jobs.rows import claim, submit


def test_a_submitted_job_is_queued_and_read_back(database: Database) -> None:
    job = submit(database, takes=3, size="256", outputs=("video", "motion"))

    assert database.jobs.get(job.id) == job
    assert (job.state, job.attempt, job.stage, job.progress) == (State.QUEUED, 0, "queued", 0.0)
    assert (job.request.takes, job.request.size) == (3, "256x256")
    assert job.created_at.tzinfo is UTC
    assert job.clip_seconds == 2.5


def test_an_accepted_request_has_a_seed(database: Database) -> None:
    assert submit(database).request.seed is not None
    assert submit(database, seed=7).request.seed == 7


def test_an_unknown_job_is_missing(database: Database) -> None:
    with pytest.raises(JobMissing, match="job not found: nobody"):
        database.jobs.get("nobody")


def test_a_position_counts_the_jobs_before(database: Database) -> None:
    first, second, third = (submit(database).id for _ in range(3))

    assert [database.jobs.position(each) for each in (first, second, third)] == [1, 2, 3]
    claim(database)
    assert [database.jobs.position(each) for each in (first, second, third)] == [None, 1, 2]


def test_the_newest_jobs_come_first(database: Database) -> None:
    submitted = [submit(database).id for _ in range(5)]

    assert [job.id for job in database.jobs.page(limit=3).jobs] == submitted[:-4:-1]


def test_times_without_a_zone_are_rejected(database_url: str) -> None:
    database = stores_on(connect(database_url), clock=lambda: datetime(2026, 5, 4))
    with pytest.raises(Exception, match="without time zone"):
        submit(database)
    database.close()


def test_job_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_job_id() for _ in range(2000)]

    assert len(set(ids)) == 2000
    assert [each[:12] for each in ids] == sorted(each[:12] for each in ids)
    assert {each[12] for each in ids} == {"7"}
    assert {each[16] for each in ids} <= set("89ab")


def test_metadata_is_stored_unchanged(database: Database) -> None:
    job_id, words = new_job_id(), {"order": "17", "café ☕": "“quoted” \\ \n", "empty": ""}
    key = input_key(job_id, "wav")
    database.jobs.submit(
        NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=1.0, metadata=words)
    )

    assert database.jobs.get(job_id).metadata == words
    assert claim(database).metadata == words
    assert submit(database).metadata == {}


def test_many_statuses_are_read_at_once(database: Database) -> None:
    running, first, second = (submit(database).id for _ in range(3))
    claim(database)
    database.attempts.progress(running, 1, "face", 0.5)
    unknown = [f"{number:032x}" for number in range(1200)]

    assert database.jobs.statuses([running, second, *unknown, first]) == {
        running: JobStatus(State.RUNNING, 1, "face", 0.5, None),
        first: JobStatus(State.QUEUED, 0, "queued", 0.0, 1),
        second: JobStatus(State.QUEUED, 0, "queued", 0.0, 2),
    }
