"""POST /jobs/{id}/cancel."""

from pathlib import Path

import pytest

from jobs.model import Output
from tests.api.rows import running, submit, succeeded
from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def test_a_queued_job_is_canceled_at_once(served: Served) -> None:
    job, next_one = submit(served), submit(served)

    answer = served.http.post(f"/jobs/{job.id}/cancel")

    assert answer.status_code == 200
    view = answer.json()
    assert (view["id"], view["state"], view["position"]) == (job.id, "canceled", None)
    assert view["finished_at"] and view["error"] is None
    assert served.http.get(f"/jobs/{next_one.id}").json()["position"] == 1


def test_the_worker_of_a_canceled_job_publishes_nothing(served: Served) -> None:
    job = running(served)
    database = served.services.database

    assert served.http.post(f"/jobs/{job.id}/cancel").json()["state"] == "canceled"

    assert not database.attempts.progress(job.id, job.attempt, "face", 0.5)
    assert not database.attempts.succeed(
        job.id, job.attempt, [Output("take-1.mp4", "jobs/x", "video/mp4", 1)]
    )
    assert served.http.get(f"/jobs/{job.id}").json()["state"] == "canceled"
    problem(served.http.get(f"/jobs/{job.id}/outputs/take-1.mp4"), 409, "job_without_outputs")


def test_canceling_twice_changes_nothing(served: Served) -> None:
    job = submit(served)
    first = served.http.post(f"/jobs/{job.id}/cancel")

    second = served.http.post(f"/jobs/{job.id}/cancel")

    assert second.status_code == 200
    assert second.json() == first.json()


def test_a_job_that_has_ended_cannot_be_canceled(served: Served, tmp_path: Path) -> None:
    done, failed = succeeded(served, tmp_path), running(served)
    served.services.database.attempts.fail(
        failed.id, failed.attempt, "clip_silent", "The clip is silent."
    )

    for job, state in ((done, "succeeded"), (failed, "failed")):
        body = problem(served.http.post(f"/jobs/{job.id}/cancel"), 409, "job_has_ended")
        assert state in body["detail"]
        assert served.http.get(f"/jobs/{job.id}").json()["state"] == state


def test_an_unknown_job_cannot_be_canceled(served: Served) -> None:
    problem(served.http.post("/jobs/0198/cancel"), 404, "job_not_found")
    problem(served.http.get("/jobs/0198/cancel"), 405, "method_not_allowed")
