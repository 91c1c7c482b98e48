"""A stage that hangs ends, whether its thread can be interrupted or not."""

import subprocess
import sys
import threading
import time

import pytest

from contracts.stages import STAGE_SECONDS
from jobs.database import Database
from jobs.model import Job, State
from jobs.settings import Settings
from tests.worker.conftest import Submit
from worker.process.attempt import attempt
from worker.process.outcomes import AttemptOutcome
from worker.process.progress import Reporter, StopRequest
from worker.process.watchdog import STUCK, Limits

GIVES_UP = 30.0


def claimed(database: Database, submit: Submit) -> Job:
    submit()
    job = database.attempts.claim("tester")
    assert job is not None
    return job


def test_a_stage_without_progress_ends_at_its_next_step(database: Database, submit: Submit) -> None:
    job = claimed(database, submit)

    def dawdle(_: Job, report: Reporter) -> list:
        report("face", 0.5)
        for _ in range(int(GIVES_UP / 0.02)):
            time.sleep(0.02)
            report.check()
        return []

    limits = Limits({"face": 0.1}, grace_seconds=GIVES_UP)
    ending = attempt(job, dawdle, store=database.attempts, leave=StopRequest(), limits=limits)

    after = database.jobs.get(job.id)
    assert (ending, after.state, after.attempt) == (AttemptOutcome.SET_BACK, State.QUEUED, 1)
    assert after.error_detail == "the stage face gave no sign of progress for 0 s"


def test_signs_of_progress_are_enough(database: Database, submit: Submit) -> None:
    job = claimed(database, submit)

    def plod(_: Job, report: Reporter) -> list:
        began = time.monotonic()
        while time.monotonic() - began < 3.0:
            report("face", 0.5)
        return []

    limits = Limits({"face": 1.5}, grace_seconds=GIVES_UP)
    assert (
        attempt(job, plod, store=database.attempts, leave=StopRequest(), limits=limits)
        is AttemptOutcome.PUBLISHED
    )


def test_a_thread_that_hangs_is_left_with_its_job_put_back(
    database: Database, submit: Submit
) -> None:
    job = claimed(database, submit)
    given_up = threading.Event()

    def hang(_: Job, report: Reporter) -> list:
        report("render", 0.5)
        assert given_up.wait(GIVES_UP)
        return []

    limits = Limits({"render": 0.1}, grace_seconds=0.1)
    ending = attempt(
        job, hang, store=database.attempts, leave=StopRequest(), limits=limits, give_up=given_up.set
    )

    after = database.jobs.get(job.id)
    assert (after.state, after.attempt) == (State.QUEUED, 1)
    assert "stage render" in str(after.error_detail)
    assert ending is AttemptOutcome.LOST  # what it did after all counts for nothing


def test_the_last_attempt_that_hangs_names_the_stage(database: Database, submit: Submit) -> None:
    job_id = submit().id

    def hang(_: Job, report: Reporter) -> list:
        report("speech", 0.0)
        time.sleep(0.5)
        report("speech", 1.0)
        return []

    for _ in range(3):
        job = database.attempts.claim("tester")
        assert job is not None
        attempt(
            job, hang, store=database.attempts, leave=StopRequest(), limits=Limits({"speech": 0.05})
        )

    job = database.jobs.get(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "stage_timeout")
    assert "the last: the stage speech gave no sign" in str(job.error_detail)


def test_longer_clips_have_more_time() -> None:
    limits = Limits()

    assert limits.for_clip(3.0) == STAGE_SECONDS
    assert limits.for_clip(60.0)["render"] == 3 * STAGE_SECONDS["render"]


def test_some_stages_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_STAGE_SECONDS", "render=60, face=9.5")

    assert Settings().stage_seconds == STAGE_SECONDS | {"render": 60.0, "face": 9.5}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("paint=60", "unknown stage 'paint'; available: decode, speech"),
        ("render", "'render' is no number of seconds"),
        ("render=0", "write a number above 0"),
        ("render=inf", "write a number above 0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told(
    monkeypatch: pytest.MonkeyPatch, words: str, told: str
) -> None:
    monkeypatch.setenv("VISAVIS_STAGE_SECONDS", words)

    with pytest.raises(ValueError, match=told):
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
    threading.Event().wait()  # as a thread in a driver: nothing interrupts it

database = open_database(Settings(database_url=sys.argv[1]))
attempts, limits = database.attempts, Limits({"render": 0.2}, 0.2)
attempt(attempts.claim("stuck"), hang, store=attempts, leave=StopRequest(), limits=limits)
"""


def test_the_process_leaves_with_its_status_where_nothing_else_helps(
    database: Database, submit: Submit
) -> None:
    job_id = submit().id
    url = database.engine.url.render_as_string(hide_password=False)

    done = subprocess.run([sys.executable, "-c", HANGS, url], timeout=120)

    job = database.jobs.get(job_id)
    assert done.returncode == STUCK == 71
    assert (job.state, job.attempt) == (State.QUEUED, 1)
    assert "stage render" in str(job.error_detail)
