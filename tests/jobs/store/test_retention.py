"""What is given up by age, and what never is."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from jobs.db.engine import reading
from jobs.db.tables import jobs
from jobs.model import FinishedTake, Job, Output
from jobs.storage.factory import StoredObject
from jobs.storage.keys import attempt_key
from jobs.store.jobs import JobMissing, Store
from tests.clock import Clock
from tests.jobs.rows import claim, submit

DAY = timedelta(days=1)
WEEK_SECONDS = 7 * 86_400


def ended(store: Store, how: str) -> Job:
    """A job that ended so, with motion and a finished take of its first attempt."""
    submit(store)
    job = claim(store)
    video = Output("take-1.mp4", attempt_key(job.id, 1, "take-1.mp4"), "video/mp4", 9)
    motion = attempt_key(job.id, 1, "motion.npz")
    store.checkpoint(job.id, 1, motion_key=motion, digest="d")
    store.keep_takes(job.id, 1, [FinishedTake(1, "d", (video,))])
    if how == "succeeded":
        store.succeed(job.id, 1, [video])
    elif how == "failed":
        store.fail(job.id, 1, "code", "Why.")
    elif how == "canceled":
        store.cancel(job.id)
    elif how == "queued":
        store.release(job.id, 1, "why")
    return store.get(job.id)


def objects(job: Job, clock: Clock, *, attempt: int = 1) -> list[StoredObject]:
    """What is stored of it: clip, motion, video."""
    made = [attempt_key(job.id, attempt, name) for name in ("motion.npz", "take-1.mp4")]
    return [StoredObject(key, clock.now) for key in (job.input_key, *made)]


def left(store: Store, found: list[StoredObject], *, strangers: bool = True) -> list[str]:
    """The ends of the keys that go."""
    gone = store.leftovers(found, DAY, strangers=strangers)
    return [key.split("/", 2)[2] for key in gone]


@pytest.mark.parametrize("how", ["succeeded", "failed", "canceled"])
def test_files_of_ended_jobs_expire_once_and_the_row_tells(
    store: Store, clock: Clock, how: str
) -> None:
    job = ended(store, how)
    assert (store.expire_inputs(DAY), store.expire_outputs(DAY)) == ([], [])
    clock.advance(86_401)

    assert [(one.job_id, one.attempts) for one in store.expire_outputs(DAY)] == [(job.id, 1)]
    assert [one.job_id for one in store.expire_inputs(DAY)] == [job.id]
    assert (store.expire_inputs(DAY), store.expire_outputs(DAY)) == ([], [])

    after = store.get(job.id)
    with reading(store.engine) as connection:
        stored = sa.select(jobs.c.input_bytes + jobs.c.output_bytes)
        assert connection.execute(stored).scalar_one() == 0  # a quota counts it no more
    assert after.outputs == job.outputs
    assert (after.motion_key, after.finished_takes) == (None, ())
    assert after.input_expired_at is not None
    assert after.outputs_expired_at is not None
    assert store.retry(job.id) is False  # there is no recording any more


@pytest.mark.parametrize("how", ["running", "queued"])
def test_jobs_that_have_not_ended_keep_everything(store: Store, clock: Clock, how: str) -> None:
    job = ended(store, how)
    clock.advance(WEEK_SECONDS)

    assert (store.expire_inputs(DAY), store.expire_outputs(DAY)) == ([], [])
    assert store.expire_jobs(DAY) == []
    clock.now -= timedelta(days=7)
    found = objects(job, clock)
    clock.now += timedelta(days=7)
    assert left(store, found) == []


def test_a_retry_makes_outputs_that_count_from_its_own_end(store: Store, clock: Clock) -> None:
    job = ended(store, "failed")
    clock.advance(86_401)
    store.expire_outputs(DAY)

    assert store.retry(job.id)

    assert store.get(job.id).outputs_expired_at is None


def test_rows_go_with_all_that_is_stored(store: Store, clock: Clock) -> None:
    old = ended(store, "succeeded")
    clock.advance(86_401)
    young = ended(store, "succeeded")

    assert [removal.job_id for removal in store.expire_jobs(DAY)] == [old.id]
    assert store.expire_jobs(DAY) == []
    with pytest.raises(JobMissing):
        store.get(old.id)
    assert store.get(young.id) == young
    clock.advance(31)
    assert [removal.job_id for removal in store.due_removals()] == [old.id]


@pytest.mark.parametrize(
    ("how", "gone"),
    [
        ("succeeded", ["attempt-1/motion.npz"]),
        ("failed", ["attempt-1/motion.npz", "attempt-1/take-1.mp4"]),
        ("canceled", ["attempt-1/motion.npz", "attempt-1/take-1.mp4"]),
    ],
)
def test_what_was_not_published_goes_after_a_while(
    store: Store, clock: Clock, how: str, gone: list[str]
) -> None:
    job = ended(store, how)
    found = objects(job, clock)
    clock.advance(86_000)
    assert left(store, found) == []
    clock.advance(1000)

    assert left(store, found) == gone

    after = store.get(job.id)
    assert (after.motion_key, after.finished_takes) == (None, ())  # a retry finds nothing half
    assert after.outputs == job.outputs


def test_what_a_late_worker_has_stored_goes_too(store: Store, clock: Clock) -> None:
    job = ended(store, "succeeded")
    clock.advance(86_401)
    late = objects(job, clock, attempt=2)
    assert left(store, late) == []  # it may still be at it
    clock.advance(86_401)

    assert left(store, late) == ["attempt-2/motion.npz", "attempt-2/take-1.mp4"]


def test_what_expired_and_was_not_removed_goes_at_once(store: Store, clock: Clock) -> None:
    job = ended(store, "succeeded")
    clock.advance(86_401)
    found = objects(job, clock)
    store.expire_inputs(DAY)
    store.expire_outputs(DAY)

    assert len(left(store, found)) == 3


def test_clips_whose_row_never_came_go_where_the_storage_is_ours(
    store: Store, clock: Clock
) -> None:
    stranger = [StoredObject("jobs/nobody/input/audio.wav", clock.now)]
    assert left(store, stranger) == []
    clock.advance(86_401)

    assert left(store, stranger, strangers=False) == []
    assert left(store, stranger) == ["input/audio.wav"]


def test_a_chore_is_done_by_one_at_a_time_and_goes_on_where_it_was(
    store: Store, clock: Clock
) -> None:
    chore = store.acquire_task("sweep")
    assert chore is not None
    assert chore.place is None
    assert store.acquire_task("sweep") is None
    store.release_task(chore, "jobs/b", timedelta())
    again = store.acquire_task("sweep")
    assert again is not None
    assert again.place == "jobs/b"
    store.release_task(chore, "jobs/a", timedelta())  # one who was away for too long
    store.release_task(again, None, timedelta(hours=1))
    assert store.acquire_task("sweep") is None
    clock.advance(3601)
    assert store.acquire_task("sweep") is not None
    clock.advance(121)  # whoever had it has died
    assert store.acquire_task("sweep") is not None


def test_a_database_is_always_the_same_one(store: Store) -> None:
    assert store.identity() == store.identity()
    assert len(store.identity()) == 32


@pytest.mark.parametrize("step", ["expire_inputs", "expire_outputs", "expire_jobs"])
def test_many_processes_may_expire_at_once(store: Store, clock: Clock, step: str) -> None:
    ids = {ended(store, "succeeded").id for _ in range(5)}
    clock.advance(86_401)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: getattr(store, step)(DAY), range(8)))

    assert sorted(one.job_id for some in found for one in some) == sorted(ids)
