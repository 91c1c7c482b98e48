"""Attempts: claims, leases, stale writes and the reaper, on SQLite and PostgreSQL."""

import multiprocessing
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.stages import overall_progress
from jobs.database import Database, stores_on
from jobs.db.engine import connect
from jobs.model import JobWarning, State
from jobs.queue.pauses import PauseScope, PauseTarget
from jobs.request.model import motion_digest
from jobs.store.pagination import JobFilter
from tests.clock import Clock
from tests.jobs.rows import STALE_WRITES, VIDEO, claim, submit


def test_jobs_are_claimed_in_order_of_submission(database: Database) -> None:
    submitted = [submit(database).id for _ in range(4)]

    assert [claim(database).id for _ in range(4)] == submitted
    assert database.attempts.claim("worker-1") is None


def test_a_claim_starts_an_attempt_with_a_lease(database: Database) -> None:
    submit(database)

    job = claim(database, "worker-9")

    assert (job.state, job.attempt, job.worker) == (State.RUNNING, 1, "worker-9")
    assert job.lease_until is not None
    assert job.started_at is not None
    assert 14.9 < (job.lease_until - job.started_at).total_seconds() <= 15.0


def test_progress_is_stored_per_stage_and_overall(database: Database) -> None:
    submit(database)
    job = claim(database)

    assert database.attempts.progress(job.id, job.attempt, "body", 0.5)

    seen = database.jobs.get(job.id)
    assert (seen.stage, seen.stage_progress) == ("body", 0.5)
    assert seen.progress == pytest.approx(overall_progress("body", 0.5))
    assert overall_progress("decode", 0.0) == 0.0
    assert overall_progress("publish", 1.0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="unknown stage 'dancing'"):
        overall_progress("dancing", 0.5)


def test_an_attempt_replaces_the_warnings(database: Database) -> None:
    job_id = submit(database).id
    assert claim(database).warnings == ()
    cut, silent = JobWarning("audio_cut_off", "Cut off."), JobWarning("left_silent", "Silent.")

    assert database.attempts.record_warnings(job_id, 1, [cut])
    database.attempts.release(job_id, 1, "lost")
    assert claim(database).warnings == (cut,)
    assert database.attempts.record_warnings(job_id, 2, [silent])
    assert not database.attempts.record_warnings(job_id, 1, [cut])

    assert database.jobs.get(job_id).warnings == (silent,)


def test_success_publishes_the_outputs(database: Database) -> None:
    submit(database)
    job = claim(database)

    assert database.attempts.succeed(job.id, job.attempt, [VIDEO])

    done = database.jobs.get(job.id)
    assert (done.state, done.progress, done.outputs) == (State.SUCCEEDED, 1.0, (VIDEO,))
    assert done.finished_at is not None
    assert done.state.final


def test_a_failure_keeps_its_sentence_and_stage(database: Database) -> None:
    submit(database)
    job = claim(database)
    database.attempts.progress(job.id, job.attempt, "decode", 0.5)

    assert database.attempts.fail(job.id, job.attempt, "clip_silent", "The clip is silent.")

    failed = database.jobs.get(job.id)
    assert (failed.state, failed.error_code) == (State.FAILED, "clip_silent")
    assert (failed.error_detail, failed.stage) == ("The clip is silent.", "decode")


@pytest.mark.parametrize("name", STALE_WRITES)
def test_a_worker_cannot_write_after_its_lease(database: Database, clock: Clock, name: str) -> None:
    submit(database)
    old = claim(database, "slow")
    clock.advance(16)
    database.attempts.reap()
    new = claim(database, "quick")

    assert not STALE_WRITES[name](database, old.id, old.attempt)

    assert database.jobs.get(old.id) == new


@pytest.mark.parametrize("name", STALE_WRITES)
def test_an_ended_job_cannot_be_written(database: Database, name: str) -> None:
    submit(database)
    job = claim(database)
    database.attempts.succeed(job.id, job.attempt, [VIDEO])
    ended = database.jobs.get(job.id)

    assert not STALE_WRITES[name](database, job.id, job.attempt)

    assert database.jobs.get(job.id) == ended


def test_the_reaper_requeues_an_expired_job_once(database: Database, clock: Clock) -> None:
    submit(database)
    job = claim(database)
    clock.advance(14)
    assert database.attempts.reap() == []
    clock.advance(2)

    assert database.attempts.reap() == [job.id]
    assert database.attempts.reap() == []

    back = database.jobs.get(job.id)
    assert (back.state, back.attempt, back.worker, back.stage) == (State.QUEUED, 1, None, "queued")
    assert claim(database).attempt == 2


def test_the_reaper_ignores_a_renewed_lease(database: Database, clock: Clock) -> None:
    submit(database)
    job = claim(database)
    for _ in range(5):
        clock.advance(10)
        assert database.attempts.renew(job.id, job.attempt)

    database.attempts.reap()

    assert database.jobs.get(job.id).state is State.RUNNING


def test_a_job_that_kills_every_worker_fails_with_the_reason(
    database: Database, clock: Clock
) -> None:
    submit(database)
    for attempt in (1, 2, 3):
        assert claim(database).attempt == attempt
        clock.advance(16)
        database.attempts.reap()

    job = database.jobs.page().jobs[0]
    assert (job.state, job.error_code) == (State.FAILED, "attempts_exhausted")
    assert "3 attempts" in str(job.error_detail)
    assert "stopped without a result" in str(job.error_detail)
    assert database.attempts.claim("worker-1") is None


def test_concurrent_reapers_requeue_an_attempt_once(database: Database, clock: Clock) -> None:
    for _ in range(6):
        submit(database)
        claim(database)
    clock.advance(16)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: database.attempts.reap(), range(8)))

    woken = Counter(job for answer in answers for job in answer)
    assert len(woken) == 6
    assert set(woken.values()) == {1}
    assert {job.attempt for job in database.jobs.page().jobs} == {1}


def test_a_lost_wake_up_is_repeated_at_intervals(database: Database, clock: Clock) -> None:
    job = submit(database)
    assert database.attempts.reap() == []
    clock.advance(10)

    assert database.attempts.reap() == [job.id]
    assert database.attempts.reap() == []
    clock.advance(10)
    assert database.attempts.reap() == [job.id]


def test_wake_ups_for_a_long_queue_are_few(database: Database, clock: Clock) -> None:
    queued = [submit(database).id for _ in range(30)]
    clock.advance(10)

    assert database.attempts.reap() == queued[:8]


def test_motion_is_kept_for_the_next_attempt(database: Database, clock: Clock) -> None:
    submitted = submit(database, seed=5)
    job = claim(database)
    digest = motion_digest(submitted.request, "person-1")
    assert database.attempts.record_motion(job.id, 1, motion_key="jobs/x/motion.npz", digest=digest)
    clock.advance(16)
    database.attempts.reap()

    again = claim(database)

    assert (again.attempt, again.motion_key) == (2, "jobs/x/motion.npz")
    assert again.motion_digest == motion_digest(again.request, "person-1")
    assert again.motion_digest != motion_digest(again.request, "person-2")


def test_a_released_job_has_its_old_queue_position(database: Database) -> None:
    first, second = submit(database), submit(database)
    job = claim(database)

    assert database.attempts.release(job.id, job.attempt, "the storage did not answer")

    assert database.jobs.position(first.id) == 1
    assert database.jobs.position(second.id) == 2
    assert database.attempts.reap() == [first.id]  # the worker that released it did not announce it


def test_releases_that_count_end_the_job_and_others_do_not(database: Database) -> None:
    submit(database)
    for _ in range(7):
        job = claim(database)
        assert database.attempts.release(
            job.id, job.attempt, "the worker has to leave", counts=False
        )
    assert database.jobs.get(job.id).state is State.QUEUED

    for _ in range(3):
        job = claim(database)
        assert database.attempts.release(job.id, job.attempt, "the disk is full")

    ended = database.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (State.FAILED, 10)
    assert "the disk is full" in str(ended.error_detail)


def test_concurrent_threads_claim_different_jobs(database: Database) -> None:
    submitted = {submit(database).id for _ in range(24)}
    start = threading.Barrier(4)

    def take(name: str) -> list[str]:
        start.wait()
        taken = []
        while (job := database.attempts.claim(name)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job for each in pool.map(take, "abcd") for job in each]

    assert sorted(taken) == sorted(submitted)


def claim_everything(url: str, found: "multiprocessing.Queue[str]") -> None:
    database = stores_on(connect(url))
    while (
        job := database.attempts.claim(f"process-{multiprocessing.current_process().pid}")
    ) is not None:
        found.put(f"{job.id} {job.attempt}")
    database.close()


def test_concurrent_processes_claim_different_jobs(database: Database, database_url: str) -> None:
    submitted = sorted(f"{submit(database).id} 1" for _ in range(20))
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    workers = [
        context.Process(target=claim_everything, args=(database_url, found)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    claimed = sorted(found.get(timeout=30) for _ in submitted)
    for worker in workers:
        worker.join(30)
    found.close()
    found.join_thread()

    assert claimed == submitted
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_worker_of_some_people_claims_only_their_jobs(database: Database) -> None:
    submit(database, person="anna")
    job = submit(database, person="demo", priority=-1)

    assert database.attempts.claim("worker-1", ["ben"]) is None
    claimed = database.attempts.claim("worker-1", ["demo", "ben"])
    assert claimed is not None and claimed.id == job.id
    assert database.attempts.claim("worker-1", ["demo", "ben"]) is None


def test_a_lease_from_before_the_clock_was_put_back_expires(
    database: Database, clock: Clock
) -> None:
    submit(database)
    clock.advance(3600)
    job = claim(database)
    clock.advance(-3600)

    assert database.attempts.reap() == [job.id]

    assert database.jobs.get(job.id).state is State.QUEUED


def test_a_job_that_was_announced_before_the_clock_was_put_back_is_announced_again(
    database: Database, clock: Clock
) -> None:
    clock.advance(3600)
    job = submit(database)
    clock.advance(-3600)

    assert database.attempts.reap() == [job.id]
    assert database.attempts.reap() == []


def test_a_renewal_that_waited_for_other_writers_is_no_sign_of_a_changed_clock(
    database: Database, clock: Clock
) -> None:
    submit(database)
    clock.advance(10)  # the clock of the claim is read later than that of the reaper
    job = claim(database)
    clock.advance(-10)

    assert database.attempts.reap() == []

    assert database.jobs.get(job.id).state is State.RUNNING


def test_a_job_that_is_put_back_pauses_longer_each_time(database: Database, clock: Clock) -> None:
    job = submit(database)
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        attempt = claim(database).attempt
        database.attempts.release(job.id, attempt, "why", counts=False, pause_seconds=1.0)
        clock.advance(pause - 0.1)
        assert database.attempts.claim("worker-1") is None
        clock.advance(0.2)

    assert claim(database).attempt == 9


def test_a_pause_from_before_the_clock_was_put_back_is_over(
    database: Database, clock: Clock
) -> None:
    job = submit(database)
    clock.advance(3600)
    database.attempts.release(job.id, claim(database).attempt, "why", pause_seconds=1.0)
    clock.advance(-3600)

    assert claim(database).attempt == 2


def test_a_job_that_pauses_does_not_hold_up_others(database: Database) -> None:
    first, second = submit(database), submit(database)
    database.attempts.release(first.id, claim(database).attempt, "why", pause_seconds=1.0)

    assert claim(database).id == second.id


def test_jobs_of_some_persons_can_be_left_to_others(database: Database) -> None:
    submit(database, person="ada")
    other = submit(database, person="bob")

    job = database.attempts.claim("worker-1", without=["ada"])

    assert job is not None
    assert job.id == other.id
    assert database.attempts.claim("worker-1", without=["ada"]) is None


def test_a_job_of_two_persons_is_for_workers_that_have_both(database: Database) -> None:
    job = submit(database, person="ada", both=True, partner_person="bob")

    for people in (["ada"], ["bob"]):
        assert database.attempts.claim("worker-1", people) is None
        assert not database.attempts.any_waiting(people)
        assert database.attempts.claim("worker-1", without=people) is None
        database.pauses.pause(PauseTarget(PauseScope.PERSON, people[0]))
        assert database.attempts.claim("worker-1") is None
        database.pauses.resume(PauseTarget(PauseScope.PERSON, people[0]))
        listed = database.jobs.page(JobFilter(person=people[0]), limit=9).jobs
        assert [each.id for each in listed] == [job.id]
    claimed = database.attempts.claim("worker-1", ["ada", "bob"])
    assert claimed is not None
    assert claimed.request.people == ("ada", "bob")


def test_a_job_fails_after_the_most_setbacks_of_a_kind(database: Database) -> None:
    job = submit(database)
    for _ in range(2):
        held = claim(database)
        database.attempts.release(
            job.id, held.attempt, "disk full", counts=False, code="disk_full", most=2,
            pause_seconds=1e-9,
        )  # fmt: skip

    failed = database.jobs.get(job.id)
    assert (failed.state, failed.error_code) == (State.FAILED, "disk_full")
    assert failed.error_detail == "The job did not end in 2 attempts; the last: disk full."


def test_the_newest_job_with_a_watermark_is_found(database: Database) -> None:
    older, newer = submit(database), submit(database)
    for _ in range(2):
        job = claim(database)
        assert database.attempts.record_watermark(job.id, job.attempt, "00000000000000ff")

    assert database.jobs.with_watermark("00000000000000ff") == max(older.id, newer.id)
    assert database.jobs.with_watermark("00000000000000fe") is None
    assert database.jobs.watermarks() == ["00000000000000ff"]
