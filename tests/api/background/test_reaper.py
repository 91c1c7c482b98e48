"""Reaper task: the API puts jobs of lost workers back into the queue."""

import json
import time
from pathlib import Path

import pytest
from redis import Redis

from cli.local.embedded_redis import EmbeddedRedis
from jobs.database import Database
from jobs.maintenance.reaper import maintain
from jobs.model import NewJob, State, new_job_id
from jobs.queue.celery_app import QUEUE
from jobs.request.model import GenerateRequest
from jobs.settings import Settings
from jobs.storage.keys import input_key
from tests.api_server import serving

SOON = {"lease_seconds": 0.3, "reaper_seconds": 0.1, "wake_seconds": 0.1}


def claimed(database: Database) -> str:
    job_id = new_job_id()
    key = input_key(job_id, "wav")
    database.jobs.submit(NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=1.0))
    assert database.attempts.claim("doomed") is not None
    return job_id


@pytest.mark.services
def test_a_job_whose_worker_died_is_announced_again(tmp_path: Path) -> None:
    with EmbeddedRedis() as redis:
        settings = Settings(data=tmp_path, broker_url=redis.url)
        with (
            serving(settings.model_copy(update=SOON)) as served,
            Redis(unix_socket_path=str(redis.socket)) as queue,
        ):
            job_id = claimed(served.services.database)
            deadline = time.monotonic() + 30
            while (job := served.services.database.jobs.get(job_id)).state is State.RUNNING:
                assert time.monotonic() < deadline, "the job was not put back"
                time.sleep(0.02)
            while not queue.llen(QUEUE):
                assert time.monotonic() < deadline, "the job was not announced"
                time.sleep(0.02)
            message = json.loads(queue.lindex(QUEUE, 0))

    assert job_id in message["headers"]["argsrepr"]
    assert (job.state, job.attempt) == (State.QUEUED, 1)


def test_an_unavailable_broker_does_not_stop_the_reaper(tmp_path: Path) -> None:
    url = f"redis+socket://{tmp_path}/none?virtual_host=0"
    settings = Settings(data=tmp_path, broker_url=url).model_copy(update=SOON)
    with serving(settings) as served:
        job_id = claimed(served.services.database)
        deadline = time.monotonic() + 10
        while served.services.database.jobs.get(job_id).state is State.RUNNING:
            assert time.monotonic() < deadline, "the job was not put back"
            time.sleep(0.02)
        assert maintain(served.services.maintenance).announced == 0


def test_an_unavailable_database_does_not_stop_the_reaper(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data=tmp_path).model_copy(update=SOON)
    with serving(settings) as served:
        job_id = claimed(served.services.database)
        reap = served.services.database.attempts.reap
        served.services.database.attempts.reap = lambda may_requeue: 1 / 0
        time.sleep(0.25)
        served.services.database.attempts.reap = reap
        deadline = time.monotonic() + 10
        while served.services.database.jobs.get(job_id).state is State.RUNNING:
            assert time.monotonic() < deadline, "the reaper did not come back"
            time.sleep(0.02)

    assert any(record.message == "reaping failed" for record in caplog.records)
