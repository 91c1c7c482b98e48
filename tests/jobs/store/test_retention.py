"""Retention: expiry by age, and orphaned objects."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from jobs.database import Database
from jobs.db.engine import reading
from jobs.db.tables import jobs
from jobs.model import FinishedTake, Job, Output
from jobs.storage.factory import StoredObject
from jobs.storage.keys import attempt_key
from jobs.store.job_rows import JobMissing
from tests.clock import Clock
from tests.jobs.rows import claim, submit

DAY = timedelta(days=1)
WEEK_SECONDS = 7 * 86_400


def ended(database: Database, how: str) -> Job:
    """Return a job in this state, with motion and a finished take of its first attempt."""
    submit(database)
    job = claim(database)
    video = Output("take-1.mp4", attempt_key(job.id, 1, "take-1.mp4"), "video/mp4", 9)
    motion = attempt_key(job.id, 1, "motion.npz")
    database.attempts.record_motion(job.id, 1, motion_key=motion, digest="d")
    database.attempts.record_takes(job.id, 1, [FinishedTake(1, "d", (video,))])
    if how == "succeeded":
        database.attempts.succeed(job.id, 1, [video])
    elif how == "failed":
        database.attempts.fail(job.id, 1, "code", "Why.")
    elif how == "canceled":
        database.jobs.cancel(job.id)
    elif how == "queued":
        database.attempts.release(job.id, 1, "why")
    return database.jobs.get(job.id)


def objects(job: Job, clock: Clock, *, attempt: int = 1) -> list[StoredObject]:
    """Return the stored objects of a job: clip, motion, video."""
    outputs = [attempt_key(job.id, attempt, name) for name in ("motion.npz", "take-1.mp4")]
    return [StoredObject(key, clock.now) for key in (job.input_key, *outputs)]


def orphans(
    database: Database, stored: list[StoredObject], *, unknown_jobs: bool = True
) -> list[str]:
    """Return the keys of the orphans below their job."""
    keys = database.retention.orphans(stored, DAY, unknown_jobs=unknown_jobs)
    return [key.split("/", 2)[2] for key in keys]


@pytest.mark.parametrize("how", ["succeeded", "failed", "canceled"])
def test_files_of_ended_jobs_expire_once_and_the_row_is_marked(
    database: Database, clock: Clock, how: str
) -> None:
    job = ended(database, how)
    assert (database.retention.expire_inputs(DAY), database.retention.expire_outputs(DAY)) == (
        [],
        [],
    )
    clock.advance(86_401)

    assert [(one.job_id, one.attempts) for one in database.retention.expire_outputs(DAY)] == [
        (job.id, 1)
    ]
    assert [one.job_id for one in database.retention.expire_inputs(DAY)] == [job.id]
    assert (database.retention.expire_inputs(DAY), database.retention.expire_outputs(DAY)) == (
        [],
        [],
    )

    after = database.jobs.get(job.id)
    with reading(database.engine) as connection:
        stored = sa.select(jobs.c.input_bytes + jobs.c.output_bytes)
        assert connection.execute(stored).scalar_one() == 0  # quotas no longer count them
    assert after.outputs == job.outputs
    assert (after.motion_key, after.finished_takes) == (None, ())
    assert after.input_expired_at is not None
    assert after.outputs_expired_at is not None
    assert database.jobs.retry(job.id) is False  # its clip has expired


@pytest.mark.parametrize("how", ["running", "queued"])
def test_jobs_that_have_not_ended_keep_everything(
    database: Database, clock: Clock, how: str
) -> None:
    job = ended(database, how)
    clock.advance(WEEK_SECONDS)

    assert (database.retention.expire_inputs(DAY), database.retention.expire_outputs(DAY)) == (
        [],
        [],
    )
    assert database.retention.expire_jobs(DAY) == []
    clock.now -= timedelta(days=7)
    found = objects(job, clock)
    clock.now += timedelta(days=7)
    assert orphans(database, found) == []


def test_a_retry_resets_the_expiry_of_outputs(database: Database, clock: Clock) -> None:
    job = ended(database, "failed")
    clock.advance(86_401)
    database.retention.expire_outputs(DAY)

    assert database.jobs.retry(job.id)

    assert database.jobs.get(job.id).outputs_expired_at is None


def test_expired_rows_are_deleted_and_their_objects_removed(
    database: Database, clock: Clock
) -> None:
    old = ended(database, "succeeded")
    clock.advance(86_401)
    young = ended(database, "succeeded")

    assert [removal.job_id for removal in database.retention.expire_jobs(DAY)] == [old.id]
    assert database.retention.expire_jobs(DAY) == []
    with pytest.raises(JobMissing):
        database.jobs.get(old.id)
    assert database.jobs.get(young.id) == young
    clock.advance(31)
    assert [removal.job_id for removal in database.deletions.take_due()] == [old.id]


@pytest.mark.parametrize(
    ("how", "gone"),
    [
        ("succeeded", ["attempt-1/motion.npz"]),
        ("failed", ["attempt-1/motion.npz", "attempt-1/take-1.mp4"]),
        ("canceled", ["attempt-1/motion.npz", "attempt-1/take-1.mp4"]),
    ],
)
def test_unpublished_objects_become_orphans_after_a_while(
    database: Database, clock: Clock, how: str, gone: list[str]
) -> None:
    job = ended(database, how)
    found = objects(job, clock)
    clock.advance(86_000)
    assert orphans(database, found) == []
    clock.advance(1000)

    assert orphans(database, found) == gone

    after = database.jobs.get(job.id)
    assert (after.motion_key, after.finished_takes) == (None, ())  # a retry starts from nothing
    assert after.outputs == job.outputs


def test_late_objects_of_a_worker_become_orphans(database: Database, clock: Clock) -> None:
    job = ended(database, "succeeded")
    clock.advance(86_401)
    late = objects(job, clock, attempt=2)
    assert orphans(database, late) == []  # the worker may still be storing
    clock.advance(86_401)

    assert orphans(database, late) == ["attempt-2/motion.npz", "attempt-2/take-1.mp4"]


def test_expired_objects_that_remain_are_orphans_at_once(database: Database, clock: Clock) -> None:
    job = ended(database, "succeeded")
    clock.advance(86_401)
    found = objects(job, clock)
    database.retention.expire_inputs(DAY)
    database.retention.expire_outputs(DAY)

    assert len(orphans(database, found)) == 3


def test_clips_of_unknown_jobs_are_orphans_only_in_own_storage(
    database: Database, clock: Clock
) -> None:
    unknown = [StoredObject("jobs/nobody/input/audio.wav", clock.now)]
    assert orphans(database, unknown) == []
    clock.advance(86_401)

    assert orphans(database, unknown, unknown_jobs=False) == []
    assert orphans(database, unknown) == ["input/audio.wav"]


@pytest.mark.parametrize("step", ["expire_inputs", "expire_outputs", "expire_jobs"])
def test_concurrent_processes_expire_each_job_once(
    database: Database, clock: Clock, step: str
) -> None:
    ids = {ended(database, "succeeded").id for _ in range(5)}
    clock.advance(86_401)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: getattr(database.retention, step)(DAY), range(8)))

    assert sorted(one.job_id for some in found for one in some) == sorted(ids)
