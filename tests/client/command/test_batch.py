"""`visavis batch`: real processes that are killed, results, folders."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from jobs.database import open_database
from jobs.model import State
from jobs.settings import Settings
from tests.api_server import write_person
from tests.audio_clips import write_clip
from tests.client.command.conftest import Call
from tests.client.stub_worker import video_of, working
from visavis.testing import FakeService

CLIPS = 7
LONGEST_SECONDS = 60.0
ENTRY = "from visavis.command import main; main()"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    people = write_person(tmp_path / "people")
    return Settings(data=tmp_path / "data", people=people, port=port)


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end, unless it has ended."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def api(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The API in a process, once it responds."""
    environment = {
        "VISAVIS_DATA": str(settings.data),
        "VISAVIS_PEOPLE": str(settings.people),
        "VISAVIS_PORT": str(settings.port),
    }
    with running([sys.executable, "-P", "-m", "cli.main", "api"], log, **environment) as process:
        until(lambda: responds(settings))
        yield process


def responds(settings: Settings) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", settings.port)) == 0


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.services
def test_every_recording_has_one_job_and_one_video_after_kills_of_client_and_server(
    settings: Settings, tmp_path: Path
) -> None:
    clips, out, log = tmp_path / "clips", tmp_path / "videos", tmp_path / "log"
    clips.mkdir()
    for number in range(CLIPS):
        write_clip(clips / f"talk-{number}.wav", seconds=0.5 + number / 20)
    command = [sys.executable, "-c", ENTRY, "batch", str(clips), "-o", str(out)]
    command += ["--concurrency", "2", "--url", f"http://127.0.0.1:{settings.port}"]

    def videos_reach(count: int) -> None:
        until(lambda: len(list(out.glob("*.mp4"))) >= count)

    with api(settings, log) as server, working(settings, seconds=0.3):
        with running(command, log) as first:
            videos_reach(1)
            first.kill()
            assert first.wait() == -signal.SIGKILL
        with running(command, log) as second:
            videos_reach(3)
            server.kill()
            assert server.wait() == -signal.SIGKILL
            with api(settings, log):
                videos_reach(5)
                second.kill()
                assert second.wait() == -signal.SIGKILL
                done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr + log.read_text()
    assert done.stderr.endswith(f"{CLIPS} of {CLIPS} succeeded\n")
    database = open_database(settings)
    try:
        jobs = database.jobs.page(limit=100).jobs
    finally:
        database.close()
    assert [job.state for job in jobs] == [State.SUCCEEDED] * CLIPS
    videos = sorted(path.read_bytes() for path in out.glob("*.mp4"))
    assert videos == sorted(video_of(job.id, "take-1.mp4") for job in jobs)
    assert sorted(path.name for path in out.iterdir()) == [
        "batch.jsonl",
        *(f"talk-{number}.mp4" for number in range(CLIPS)),
    ]


def test_results_are_lines_and_failures_set_the_status(call: Call) -> None:
    Path("more").mkdir()
    for name in ("more/ada.wav", "more/ben.flac", "more/notes.txt"):
        Path(name).write_bytes(name.encode())
    service = FakeService(
        outcome=lambda request: "failed" if request["takes"] == 2 else "succeeded"
    )

    good = call("batch", "talk.wav", "more", "-o", "out", transport=service.handle_request)
    again = call(
        "batch", "talk.wav", "more", "-o", "out", "--json", transport=service.handle_request
    )
    bad = call("batch", "talk.wav", "-o", "bad", "--takes", "2", transport=service.handle_request)

    assert good.status == 0, good.stderr
    assert sorted(Path(line).name for line in good.stdout.splitlines()) == [
        "ada.mp4", "ben.mp4", "talk.mp4",
    ]  # fmt: skip
    assert {each["resumed"] for each in again.documents} == {True}
    assert len(service.jobs) == 4
    assert (bad.status, bad.stdout) == (
        1,
        "talk.wav: clip_unsuitable: the fake service refuses it\n",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.wav", "-o", "out"], "no recording at none.wav; check the path"),
        (["home", "-o", "out"], "no recording in home; name files"),
        (["talk.wav"], "Missing option '--out' / '-o'; `visavis batch --help` lists the options"),
    ],
)
def test_missing_recordings_are_reported_before_anything_is_sent(
    call: Call, service: FakeService, arguments: list[str], sentence: str
) -> None:
    ended = call("batch", *arguments)

    assert (ended.status, ended.stdout, ended.stderr) == (2, "", f"{sentence}\n")
    assert (service.requests, Path("out").exists()) == ([], False)


def test_ctrl_c_leaves_the_jobs_for_the_next_run(call: Call, service: FakeService) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise KeyboardInterrupt
        return service.handle_request(request)

    stopped = call("batch", "talk.wav", "-o", "out", transport=interrupted)
    done = call("batch", "talk.wav", "-o", "out")

    assert stopped.status == 130
    assert "its jobs run on, and the same command continues the batch" in stopped.stderr
    assert (done.status, len(service.jobs)) == (0, 1)
