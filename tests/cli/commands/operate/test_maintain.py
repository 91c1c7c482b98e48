"""One maintenance round from the command line."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.maintenance.context import MaintenanceContext, open_context
from jobs.model import NewJob, State, new_job_id, utc_now
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.keys import input_key
from jobs.store.uploads import UploadStore
from tests.cli.conftest import Call
from tests.new_database import create_database

NOTHING = "announced 0 jobs; removed objects of 0 jobs, 0 orphaned objects and 0 uploads\n"


@pytest.fixture
def context(call: Call, monkeypatch: pytest.MonkeyPatch) -> Iterator[MaintenanceContext]:
    monkeypatch.setenv("VISAVIS_BROKER_URL", "memory://")
    settings = Settings()
    create_database(settings.database_url)
    with open_context(settings) as opened:
        yield opened


def submit(context: MaintenanceContext, folder: Path) -> str:
    job_id = new_job_id()
    key = input_key(job_id, "wav")
    (folder / "clip.wav").write_bytes(b"audio")
    context.storage.put(key, folder / "clip.wav", "audio/wav")
    context.database.jobs.submit(NewJob(job_id, GenerateRequest(), key, clip_seconds=1.0))
    return job_id


def test_a_round_with_nothing_to_do_prints_zeros(call: Call) -> None:
    done = call("maintain", VISAVIS_BROKER_URL="memory://")

    assert (done.exit_code, done.stdout) == (0, NOTHING)


def test_a_round_prints_what_it_did(
    call: Call, context: MaintenanceContext, tmp_path: Path
) -> None:
    database, storage = context.database, context.storage
    lost, deleted = submit(context, tmp_path), submit(context, tmp_path)
    database.jobs.delete(deleted)
    database.attempts.lease_seconds = -1.0
    assert database.attempts.claim("worker-1") is not None
    earlier = UploadStore(database.engine, clock=lambda: utc_now() - timedelta(hours=2))
    earlier.add("local", bytes=5, upload_id="u1", session="s1", seconds=3600)
    storage.put("jobs/nobody/input/audio.wav", tmp_path / "clip.wav", "audio/wav")
    os.utime(storage.path("jobs/nobody/input/audio.wav"), (1, 1))  # type: ignore[union-attr]

    lease = {"VISAVIS_LEASE_SECONDS": "0.5", "VISAVIS_REAPER_SECONDS": "0.5"}
    first = call("maintain", VISAVIS_KEEP_LEFTOVERS_DAYS="1", **lease)
    expired = call("maintain", VISAVIS_KEEP_JOBS_DAYS="0.000001")

    assert (first.exit_code, first.stdout) == (
        0,
        "announced 1 job; removed objects of 0 jobs, 1 orphaned object and 1 upload\n",
    )
    assert database.jobs.get(lost).state is State.QUEUED
    assert expired.exit_code == 0
    assert "0 orphaned objects and 0 uploads" in expired.stdout


def test_a_round_removes_expired_jobs(
    call: Call, context: MaintenanceContext, tmp_path: Path
) -> None:
    job_id = submit(context, tmp_path)
    context.database.jobs.cancel(job_id)

    done = call("maintain", VISAVIS_KEEP_JOBS_DAYS="0.0000001")

    assert "removed objects of 1 job, 0 orphaned objects" in done.stdout
    assert context.storage.page("jobs", after=None, limit=10) == []
    assert context.database.retention.expire_jobs(timedelta()) == []


def test_an_invalid_storage_is_reported(call: Call, tmp_path: Path) -> None:
    done = call("maintain", VISAVIS_STORAGE_URL="ftp://host/folder")

    assert done.exit_code == 2
    assert "VISAVIS_STORAGE_URL" in done.stderr


def test_an_unreachable_database_is_reported(call: Call) -> None:
    address = "postgresql://127.0.0.1:1/visavis?connect_timeout=1"

    done = call("maintain", VISAVIS_DATABASE_URL=address)

    assert done.exit_code == 1
    assert "the database does not respond" in done.stderr
