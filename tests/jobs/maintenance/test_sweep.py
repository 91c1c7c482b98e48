"""Retention: expired objects are removed, and requests for them return 410."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.maintenance.reaper import maintain
from jobs.maintenance.sweep import sweep
from jobs.model import Job
from jobs.settings import Settings
from jobs.storage.factory import ObjectMissing
from jobs.storage.keys import IDENTITY_KEY, input_key
from tests.api import rows
from tests.api_server import Served, serving, write_person
from tests.problems import problem

A_MOMENT = 1e-9  # days


@pytest.fixture
def base(tmp_path: Path) -> Settings:
    people = write_person(tmp_path / "people", "demo")
    return Settings(data=tmp_path / "data", people=people, reaper_seconds=15.0)


@pytest.fixture
def served(base: Settings, request: pytest.FixtureRequest) -> Iterator[Served]:
    kept = getattr(request, "param", {})
    with serving(base.model_copy(update=kept)) as running:
        yield running


def stored(served: Served) -> set[str]:
    page = served.services.storage.page("jobs", after=None, limit=100)
    return {one.key.split("/", 2)[2] for one in page}


def with_clip(served: Served, folder: Path, job: Job) -> Job:
    (folder / "clip").write_bytes(b"audio")
    served.services.storage.put(input_key(job.id, "wav"), folder / "clip", "audio/wav")
    return served.services.database.jobs.get(job.id)


@pytest.mark.parametrize("served", [{"keep_outputs_days": A_MOMENT}], indirect=True)
def test_expired_outputs_are_removed_and_downloads_return_410(
    served: Served, tmp_path: Path
) -> None:
    job = with_clip(served, tmp_path, rows.succeeded(served, tmp_path))
    seen = served.http.get(f"/jobs/{job.id}").json()
    assert seen["expires_at"] is not None
    maintain(served.services.maintenance)

    after = served.http.get(f"/jobs/{job.id}").json()

    assert (seen["state"], after["state"], after["expired"]) == ("succeeded", "succeeded", True)
    (output,) = after["outputs"]
    for link in (output["path"], output["url"]):
        problem(served.http.get(link), 410, "output_expired")
    assert stored(served) == {"input/audio.wav"}


@pytest.mark.parametrize("served", [{"keep_inputs_days": A_MOMENT}], indirect=True)
def test_expired_inputs_are_removed_and_a_retry_returns_410(served: Served, tmp_path: Path) -> None:
    job = with_clip(served, tmp_path, rows.succeeded(served, tmp_path))
    failed = with_clip(served, tmp_path, rows.running(served))
    served.services.database.attempts.fail(failed.id, 1, "code", "Why.")
    maintain(served.services.maintenance)

    problem(served.http.post(f"/jobs/{failed.id}/retry"), 410, "input_expired")
    assert served.http.get(f"/jobs/{job.id}/outputs/take-1.mp4").content == rows.VIDEO
    assert stored(served) == {"attempt-1/take-1.mp4"}


@pytest.mark.parametrize("served", [{"keep_jobs_days": A_MOMENT}], indirect=True)
def test_expired_jobs_are_removed_with_all_objects(served: Served, tmp_path: Path) -> None:
    job = with_clip(served, tmp_path, rows.succeeded(served, tmp_path))
    running = rows.running(served)
    maintain(served.services.maintenance)

    problem(served.http.get(f"/jobs/{job.id}"), 404, "job_not_found")
    assert served.http.get(f"/jobs/{running.id}").status_code == 200
    assert stored(served) == set()


@pytest.mark.parametrize("served", [{"keep_leftovers_days": 1.0}], indirect=True)
def test_orphaned_objects_are_removed(served: Served, tmp_path: Path) -> None:
    job = with_clip(served, tmp_path, rows.succeeded(served, tmp_path))
    storage = served.services.storage
    for key in ("jobs/nobody/input/audio.wav", "jobs/young/input/audio.wav"):
        storage.put(key, tmp_path / "clip", "audio/wav")
    os.utime(storage.path("jobs/nobody/input/audio.wav"), (1, 1))
    _due(served)

    assert sweep(served.services.maintenance) == 1

    keys = {one.key for one in storage.page("jobs", after=None, limit=100)}
    assert keys == {job.input_key, job.outputs[0].key, "jobs/young/input/audio.wav"}
    assert sweep(served.services.maintenance) == 0  # not due again


@pytest.mark.parametrize("served", [{"keep_leftovers_days": 1.0}], indirect=True)
def test_clips_of_another_database_are_not_removed(
    served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = served.services.storage
    (tmp_path / "clip").write_bytes(b"audio")
    storage.put("jobs/nobody/input/audio.wav", tmp_path / "clip", "audio/wav")
    os.utime(storage.path("jobs/nobody/input/audio.wav"), (1, 1))
    (tmp_path / "other").write_text("another")
    storage.put(IDENTITY_KEY, tmp_path / "other", "text/plain")
    _due(served)

    assert sweep(served.services.maintenance) == 0

    assert stored(served) == {"input/audio.wav"}
    assert any("another database" in record.message for record in caplog.records)


def test_nothing_expires_by_default(served: Served, tmp_path: Path) -> None:
    job = with_clip(served, tmp_path, rows.succeeded(served, tmp_path))
    maintain(served.services.maintenance)

    seen = served.http.get(f"/jobs/{job.id}").json()
    assert (seen["expires_at"], seen["expired"]) == (None, False)
    assert stored(served) == {"input/audio.wav", "attempt-1/take-1.mp4"}
    with pytest.raises(ObjectMissing):
        served.services.storage.stat("jobs/x/y.wav")


def test_a_signed_link_to_a_missing_file_returns_404(served: Served) -> None:
    link = served.services.storage.link("jobs/x/y.mp4", filename="y", seconds=60)

    problem(served.http.get(link), 404, "file_not_found")


def _due(served: Served) -> None:
    """Make the sweep due again; the API has run it at start."""
    from jobs.db.engine import writing
    from jobs.db.tables import chores

    with writing(served.services.database.engine) as connection:
        connection.execute(chores.delete())
