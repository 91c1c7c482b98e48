"""Graceful shutdown: the API ends long polls and streams, then exits at once."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from jobs.database import stores_on
from jobs.db.engine import connect
from jobs.model import NewJob, new_job_id
from jobs.request.model import GenerateRequest
from jobs.storage.keys import input_key
from tests.new_database import create_database

ROOT = Path(__file__).parents[3]
SERVE = """
import sys, uvicorn
from api.app import create_app
from jobs.settings import Settings
uvicorn.run(create_app(Settings()), port=int(sys.argv[1]), log_level="warning",
            timeout_graceful_shutdown=20)
"""


@contextmanager
def api(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An API process as in production, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(port)],
        cwd=ROOT,
        env=os.environ | {"VISAVIS_DATA": str(folder), "VISAVIS_BROKER_URL": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{address}/healthz", verify=False)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the API did not start"
                time.sleep(0.05)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def queued(folder: Path) -> str:
    url = f"sqlite:///{folder / 'visavis.db'}"
    create_database(url)
    database, job_id = stores_on(connect(url)), new_job_id()
    key = input_key(job_id, "wav")
    database.jobs.submit(NewJob(job_id, GenerateRequest(), input_key=key, clip_seconds=1.0))
    database.close()
    return job_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_and_long_polls(tmp_path: Path, number: signal.Signals) -> None:
    job_id = queued(tmp_path)
    with api(tmp_path) as (process, address), ThreadPoolExecutor(2) as pool:
        get = {"headers": {"Prefer": "wait=60"}, "timeout": 60}
        poll = pool.submit(httpx.get, f"{address}/jobs/{job_id}", **get)
        stream = pool.submit(httpx.get, f"{address}/jobs/{job_id}/events", timeout=60)
        time.sleep(1)
        start = time.monotonic()
        process.send_signal(number)
        stderr = process.communicate(timeout=30)[1]
        seconds = time.monotonic() - start

        assert poll.result().json()["state"] == "queued"
        assert "event: job" in stream.result().text
    assert seconds < 5, "it waited for open requests"
    assert "Cancel" not in stderr, "it cut off responses"
