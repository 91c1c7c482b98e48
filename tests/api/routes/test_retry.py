"""POST /jobs/{id}/retry."""

import json
from pathlib import Path

import pytest
from redis import Redis

from cli.local.embedded_redis import EmbeddedRedis
from jobs.queue.celery_app import QUEUE
from jobs.settings import Settings
from tests.api.rows import running, submit, succeeded
from tests.api_server import Served, serving
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def test_a_failed_job_is_queued_again(served: Served) -> None:
    job = running(served)
    served.services.database.attempts.fail(
        job.id, job.attempt, "clip_missing", "The clip no longer exists."
    )

    answer = served.http.post(f"/jobs/{job.id}/retry")

    view = answer.json()
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    assert (view["id"], view["state"], view["error"], view["position"]) == (
        job.id, "queued", None, 1,
    )  # fmt: skip
    again = served.services.database.attempts.claim("worker-2")
    assert again is not None
    assert (again.id, again.attempt) == (job.id, 2)


def test_a_canceled_job_is_queued_again(served: Served) -> None:
    job = submit(served)
    served.http.post(f"/jobs/{job.id}/cancel")

    assert served.http.post(f"/jobs/{job.id}/retry").json()["state"] == "queued"


def test_jobs_in_other_states_are_not_retried(served: Served, tmp_path: Path) -> None:
    done, running_job, waiting = succeeded(served, tmp_path), running(served), submit(served)

    for job, state in ((done, "succeeded"), (running_job, "running"), (waiting, "queued")):
        answer = served.http.post(f"/jobs/{job.id}/retry")
        assert state in problem(answer, 409, "job_not_retryable")["detail"]
    problem(served.http.post("/jobs/0198/retry"), 404, "job_not_found")


@pytest.mark.services
def test_a_worker_is_woken(settings: Settings, tmp_path: Path) -> None:
    with EmbeddedRedis() as redis:
        changed = settings.model_copy(update={"data": tmp_path, "broker_url": redis.url})
        with serving(changed) as served, Redis(unix_socket_path=str(redis.socket)) as queue:
            job = submit(served)
            served.http.post(f"/jobs/{job.id}/cancel")
            served.http.post(f"/jobs/{job.id}/retry")
            message = json.loads(queue.lindex(QUEUE, 0))
    assert job.id in message["headers"]["argsrepr"]
