"""A batch whose client is killed twice and whose service once, with real processes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from jobs.settings import Settings
from tests.api_server import write_person
from tests.client.killed_batch import BATCHES, found, run_killed, write_clips
from tests.client.stub_worker import Allowance, working
from tests.house.source import ROOT

START_SECONDS = 60.0
CLIPS = 8


@dataclass
class ApiProcess:
    """`visavis-server api` on a fixed port, which can be killed and started again."""

    port: int
    environment: Mapping[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli.main", "api"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(
                    f"{self.address}/healthz", trust_env=False, verify=False
                ).raise_for_status()
                return
            except httpx.HTTPError:
                assert time.monotonic() < deadline, self.log.read_text()[-3000:]
                time.sleep(0.05)

    def kill(self) -> None:
        assert self.running is not None
        self.running.kill()
        self.running.wait()

    def restart(self) -> None:
        self.kill()
        self.start()


@contextmanager
def api(folder: Path) -> Iterator[ApiProcess]:
    """Run the API; its data are in `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    paths = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    environment = paths | {
        "PYTHONPATH": str(ROOT),
        "VISAVIS_DATA": str(folder / "data"),
        "VISAVIS_PEOPLE": str(folder / "people"),
        "VISAVIS_PORT": str(port),
        "VISAVIS_WRITES_PER_MINUTE": "0",
    }
    process = ApiProcess(port, environment, folder / "api.log")
    process.start()
    try:
        process.wait()
        yield process
    finally:
        process.kill()


@pytest.mark.slow
def test_each_clip_has_one_job_and_one_video(tmp_path: Path) -> None:
    """By `visavis batch`, which calls `Client.batch`; `make client-batch` runs both."""
    people = write_person(tmp_path / "people")
    settings = Settings(data=tmp_path / "data", people=people)
    out = tmp_path / "videos"
    allowance = Allowance(0)
    with api(tmp_path) as process, working(settings, allowance):
        clips = write_clips(tmp_path / "calls", CLIPS)
        command = BATCHES["visavis batch"](process.address, clips, out)
        kills = run_killed(command, out, CLIPS, process.restart, allowance.raise_to)
        process.wait()
        result = found(process.address, out)

    assert kills.clients[0] < kills.service <= kills.clients[1] < CLIPS
    assert result.complete(CLIPS), result
