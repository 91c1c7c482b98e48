"""Running `visavis-server up` with a tiny person."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from jobs.database import open_database
from jobs.model import Job
from jobs.settings import Settings
from tests.audio_clips import write_clip
from tests.tiny_person import write_tiny_person
from tests.webhook_receiver import Receiver, receiving

START_SECONDS = 300.0  # more than a loaded machine needs
STEPS = 400  # slow enough to interrupt the job in its face stage

Environment = Mapping[str, str]


@dataclass(frozen=True)
class Stack:
    """Running `up`: its process, settings, log, and an HTTP client."""

    process: subprocess.Popen
    http: httpx.Client
    settings: Settings
    log: Path

    def submit(self, clip: Path, **fields: object) -> str:
        answer = self.http.post("/generate", data=fields, files={"audio": clip.read_bytes()})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.http.get(f"/jobs/{job_id}").json()

    def until(
        self, job_id: str, true: Callable[[dict[str, Any]], bool], *, seconds: float
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not true(job := self.job(job_id)):
            assert time.monotonic() < deadline, (job, self.log.read_text()[-3000:])
            time.sleep(0.05)
        return job

    def child(self, name: str) -> psutil.Process:
        """Return the child process that runs the command `name`."""
        (process,) = (
            child
            for child in psutil.Process(self.process.pid).children()
            if child.cmdline()[-1:] == [name]
        )
        return process

    def stored(self, job_id: str) -> Job:
        database = open_database(self.settings)
        try:
            return database.jobs.get(job_id)
        finally:
            database.close()


@pytest.fixture(scope="package")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_tiny_person(folder)
    return folder


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "talk.wav", seconds=2.0)


@pytest.fixture(scope="package")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Receiver of the webhooks."""
    with receiving(tmp_path_factory.mktemp("receiver")) as running:
        yield running


@pytest.fixture(scope="package")
def environment(
    people: Path, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    outbound = {"VISAVIS_OUTBOUND_ALLOW": "127.0.0.1", "VISAVIS_OUTBOUND_CA": str(receiver.ca)}
    return {**service_environment(people, tmp_path_factory.mktemp("data")), **outbound}


def service_environment(people: Path, data: Path) -> Environment:
    """Environment with short leases, one thread and any free port; only paths are inherited."""
    paths = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return paths | {
        "OMP_NUM_THREADS": "1",
        "VISAVIS_DATA": str(data),
        "VISAVIS_PEOPLE": str(people),
        "VISAVIS_PORT": "0",
        "VISAVIS_LEASE_SECONDS": "2",
        "VISAVIS_REAPER_SECONDS": "0.3",
        "VISAVIS_WAKE_SECONDS": "1",
        "VISAVIS_DEVICE": "cpu",
        "VISAVIS_MAX_UPLOAD_BYTES": "2000000",
    }


@pytest.fixture(scope="package")
def stack(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(environment, tmp_path_factory.mktemp("logs")) as running:
        yield running


@contextmanager
def started(environment: Environment, folder: Path) -> Iterator[Stack]:
    """Start `up` and wait for its page; then stop it and check that no process is left."""
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("up"), env=environment, stdout=output, stderr=output, cwd=folder
        )
    family: list[psutil.Process] = []
    try:
        address = _address(process, log)
        family = psutil.Process(process.pid).children(recursive=True)
        settings = Settings(data=Path(environment["VISAVIS_DATA"]))
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as http:
            yield Stack(process, http, settings, log)
    finally:
        if process.poll() is None:
            family += psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
        process.wait(40)
        _, alive = psutil.wait_procs(family, timeout=5)
        for orphan in alive:
            orphan.kill()
    assert alive == [], log.read_text()[-3000:]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli.main", *arguments]


def _address(process: subprocess.Popen, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        lines = [line for line in log.read_text().splitlines() if line.startswith("  page  ")]
        if lines:
            return lines[0].split()[-1]
        time.sleep(0.05)
    raise AssertionError(f"`up` did not start:\n{log.read_text()}")
