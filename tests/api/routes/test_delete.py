"""DELETE /jobs/{id}: the row is deleted at once, objects as soon as the storage is available."""

import time
from pathlib import Path

import pytest

from jobs.maintenance.reaper import maintain
from jobs.settings import Settings
from jobs.storage.factory import LocalStorage, StorageError
from jobs.storage.keys import attempt_key
from jobs.store import deletions as removals
from tests.api.rows import running, submit, succeeded
from tests.api_server import Served, serving
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def objects(served: Served, job_id: str) -> list[Path]:
    storage = served.services.storage
    assert isinstance(storage, LocalStorage)
    return list((storage.folder / "jobs" / job_id).rglob("*"))


def test_a_deleted_job_and_its_files_are_not_found(served: Served, tmp_path: Path) -> None:
    job = succeeded(served, tmp_path)
    (output,) = served.http.get(f"/jobs/{job.id}").json()["outputs"]

    answer = served.http.delete(f"/jobs/{job.id}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert objects(served, job.id) == []
    problem(served.http.get(f"/jobs/{job.id}"), 404, "job_not_found")
    problem(served.http.get(output["path"]), 404, "job_not_found")
    problem(served.http.get(output["url"]), 404, "file_not_found")
    problem(served.http.delete(f"/jobs/{job.id}"), 404, "job_not_found")


def test_the_clip_of_a_queued_job_is_deleted_with_it(served: Served, clip: bytes) -> None:
    job_id = served.http.post("/generate", files={"audio": ("a", clip)}).json()["id"]
    assert objects(served, job_id)

    served.http.delete(f"/jobs/{job_id}")

    assert objects(served, job_id) == []
    assert served.services.database.attempts.claim("worker-1") is None


def test_the_worker_of_a_deleted_job_stops(served: Served) -> None:
    job = running(served)

    assert served.http.delete(f"/jobs/{job.id}").status_code == 204

    assert not served.services.database.attempts.progress(job.id, job.attempt, "face", 0.5)
    assert not served.services.database.attempts.renew(job.id, job.attempt)


def test_other_jobs_are_not_deleted(served: Served, tmp_path: Path) -> None:
    other, deleted = succeeded(served, tmp_path), succeeded(served, tmp_path)

    served.http.delete(f"/jobs/{deleted.id}")

    (output,) = served.http.get(f"/jobs/{other.id}").json()["outputs"]
    assert served.http.get(output["path"]).status_code == 200
    problem(served.http.delete("/jobs/0198"), 404, "job_not_found")


def test_objects_that_a_stopping_worker_stores_late_are_deleted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removals, "ROUNDS_SECONDS", (0, 0.05))
    with serving(settings.model_copy(update={"data": tmp_path / "data"})) as served:
        job = running(served)
        served.http.delete(f"/jobs/{job.id}")
        late = tmp_path / "late"
        late.write_bytes(b"late")
        key = attempt_key(job.id, job.attempt, "take-1.mp4")
        served.services.storage.put(key, late, "video/mp4")
        assert objects(served, job.id)

        time.sleep(0.06)
        maintain(served.services.maintenance)

        assert objects(served, job.id) == []
        assert served.services.database.deletions.take_due() == []


def test_objects_are_deleted_once_the_storage_is_available_again(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(storage: LocalStorage, prefix: str) -> None:
        raise StorageError("unavailable")

    monkeypatch.setattr(removals, "HOLD_SECONDS", 0.05)
    with serving(settings.model_copy(update={"data": tmp_path / "data"})) as served:
        job = succeeded(served, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(LocalStorage, "delete", fail)
            assert served.http.delete(f"/jobs/{job.id}").status_code == 204
        problem(served.http.get(f"/jobs/{job.id}"), 404, "job_not_found")
        assert objects(served, job.id)

        time.sleep(0.06)
        maintain(served.services.maintenance)

        assert objects(served, job.id) == []
    assert any("not removed yet" in record.message for record in caplog.records)


def test_deleting_a_queued_job_moves_the_next_one_up(served: Served) -> None:
    first, second = submit(served), submit(served)

    served.http.delete(f"/jobs/{first.id}")

    assert served.http.get(f"/jobs/{second.id}").json()["position"] == 1
