"""The watchdog ends a stage that hangs, even if its thread cannot be interrupted."""

import subprocess
import sys
import threading
import time

import pytest

from contracts.stages import STAGE_SECONDS
from jobs.database import Database
from jobs.model import Job, State
from jobs.settings import Settings
from tests.worker.conftest import Submit, end_pauses
from worker.process.attempt import attempt
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import Reporter, StopRequest
from worker.process.watchdog import STUCK, Limits

TIMEOUT = 30.0  # of the test


def claim(database: Database, submit: Submit) -> Job:
    submit()
    job = database.attempts.claim("tester")
    assert job is not None
    return job


def test_a_stage_without_progress_ends_at_its_next_step(database: Database, submit: Submit) -> None:
    job = claim(database, submit)

    def stall(_: Job, report: Reporter) -> list:
        report("face", 0.5)
        for _ in range(int(TIMEOUT / 0.02)):
            time.sleep(0.02)
            report.check()
        return []

    limits = Limits({"face": 0.1}, grace_seconds=TIMEOUT)
    outcome = attempt(job, stall, store=database.attempts, stop=StopRequest(), limits=limits)

    after = database.jobs.get(job.id)
    assert (outcome, after.state, after.attempt) == (
        AttemptOutcome.RESOURCE_FAILURE,
        State.QUEUED,
        1,
    )
    assert after.error_detail == "no progress in stage face for 0 s"


def test_a_slow_stage_with_progress_is_not_ended(database: Database, submit: Submit) -> None:
    job = claim(database, submit)

    def work_slowly(_: Job, report: Reporter) -> list:
        began = time.monotonic()
        while time.monotonic() - began < 3.0:
            report("face", 0.5)
        return []

    limits = Limits({"face": 1.5}, grace_seconds=TIMEOUT)
    assert (
        attempt(job, work_slowly, store=database.attempts, stop=StopRequest(), limits=limits)
        is AttemptOutcome.PUBLISHED
    )


def test_a_job_whose_thread_hangs_is_released_and_the_process_ends(
    database: Database, submit: Submit
) -> None:
    job = claim(database, submit)
    ended = threading.Event()

    def hang(_: Job, report: Reporter) -> list:
        report("render", 0.5)
        assert ended.wait(TIMEOUT)
        return []

    limits = Limits({"render": 0.1}, grace_seconds=0.1)
    outcome = attempt(
        job,
        hang,
        store=database.attempts,
        stop=StopRequest(),
        limits=limits,
        exit_process=ended.set,
    )

    after = database.jobs.get(job.id)
    assert (after.state, after.attempt) == (State.QUEUED, 1)
    assert "stage render" in str(after.error_detail)
    assert outcome is AttemptOutcome.LEASE_LOST  # its result is discarded


def test_a_job_that_fails_by_a_timeout_names_the_stage(database: Database, submit: Submit) -> None:
    job_id = submit().id

    def hang(_: Job, report: Reporter) -> list:
        report("speech", 0.0)
        time.sleep(0.5)
        report("speech", 1.0)
        return []

    for _ in range(3):
        end_pauses(database)
        job = database.attempts.claim("tester")
        assert job is not None
        attempt(
            job, hang, store=database.attempts, stop=StopRequest(), limits=Limits({"speech": 0.05})
        )

    job = database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "stage_timeout")
    assert "the last: no progress in stage speech" in str(job.error_detail)


def test_longer_clips_have_more_time() -> None:
    limits = Limits()

    assert limits.for_clip(3.0) == STAGE_SECONDS
    assert limits.for_clip(60.0)["render"] == 3 * STAGE_SECONDS["render"]


def test_limits_of_single_stages_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_STAGE_SECONDS", "render=60, face=9.5")

    assert Settings().stage_seconds == STAGE_SECONDS | {"render": 60.0, "face": 9.5}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("paint=60", "unknown stage 'paint'; available: decode, speech"),
        ("render", "invalid number of seconds in 'render'"),
        ("render=0", "write a number above 0"),
        ("render=inf", "write a number above 0"),
    ],
)
def test_an_invalid_limit_is_rejected(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("VISAVIS_STAGE_SECONDS", value)

    with pytest.raises(ValueError, match=message):
        Settings()


HANGS = """
import sys, threading
from jobs.settings import Settings
from jobs.database import open_database
from worker.process.attempt import attempt
from worker.process.progress import StopRequest
from worker.process.watchdog import Limits

def hang(job, report):
    report("render", 0.5)
    threading.Event().wait()  # like a thread in a driver, which cannot be interrupted

database = open_database(Settings(database_url=sys.argv[1]))
attempts, limits = database.attempts, Limits({"render": 0.2}, 0.2)
attempt(attempts.claim("stuck"), hang, store=attempts, stop=StopRequest(), limits=limits)
"""


def test_a_process_with_a_thread_that_hangs_exits_with_its_own_status(
    database: Database, submit: Submit
) -> None:
    job_id = submit().id
    url = database.engine.url.render_as_string(hide_password=False)

    done = subprocess.run([sys.executable, "-c", HANGS, url], timeout=120)

    job = database.jobs.get(job_id)
    assert done.returncode == STUCK == 71
    assert (job.state, job.attempt) == (State.QUEUED, 1)
    assert "stage render" in str(job.error_detail)
