"""`visavis jobs`, `wait`, `cancel`, `retry` and `people`."""

from pathlib import Path

import httpx
import pytest

from tests.client.command.conftest import Call
from visavis.testing import FakeService


@pytest.fixture
def submitted(call: Call, service: FakeService) -> list[str]:
    """Ids of three jobs, the oldest first."""
    return [call("send", "talk.wav", "--no-wait", "-q").stdout.strip() for _ in range(3)]


def test_the_newest_jobs_are_listed(call: Call, submitted: list[str]) -> None:
    call("cancel", submitted[0])

    header, *rows = call("jobs", "--limit", "2").stdout.splitlines()
    canceled = call("jobs", "--state", "canceled", "--json").documents

    assert header.split() == ["job", "state", "person", "takes", "clip", "age"]
    assert [row.split()[0] for row in rows] == submitted[:0:-1]
    assert [job["id"] for job in canceled] == submitted[:1]
    assert call("jobs", "--state", "done").status == 2


def test_an_unknown_job_does_not_stop_the_others(call: Call, submitted: list[str]) -> None:
    ended = call("cancel", submitted[0], "missing", submitted[1])

    assert ended.status == 2
    assert [line.split()[0] for line in ended.stdout.splitlines()] == submitted[:2]
    assert ended.stderr.startswith("job_not_found: ")


def test_a_canceled_job_runs_again(call: Call, submitted: list[str]) -> None:
    call("cancel", submitted[0])

    again = call("retry", submitted[0])
    refused = call("retry", submitted[0])

    assert (again.status, again.stdout) == (0, f"{submitted[0]}  queued, place 1\n")
    assert (refused.status, refused.stderr[:18]) == (2, "job_not_retryable:")


def test_jobs_are_waited_for_and_fetched(call: Call, submitted: list[str]) -> None:
    call("cancel", submitted[2])

    ended = call("wait", *submitted, "-o", "videos", "-q")

    assert ended.status == 1
    assert ended.stdout.split() == [f"videos/{job_id}.mp4" for job_id in submitted[:2]]
    assert f"job {submitted[2]} was canceled" in ended.stderr
    assert Path(f"videos/{submitted[0]}.mp4").read_bytes() == b"video"
    assert call("wait", submitted[0], "-o", "videos", "-q").status == 2  # the file exists
    assert call("wait", submitted[0], "-q").stdout == f"{submitted[0]} succeeded\n"


def test_the_job_runs_on_after_ctrl_c(
    call: Call, service: FakeService, submitted: list[str]
) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise KeyboardInterrupt
        return httpx.Response(200, json=service.jobs[submitted[0]])

    stopped = call("wait", submitted[0], submitted[1], "-q", transport=interrupted)

    assert stopped.status == 130
    assert stopped.stderr == f"stopped; job {submitted[0]} runs on\n"
    assert service.jobs[submitted[0]]["state"] == "queued"


def test_the_job_runs_on_after_a_timeout(
    call: Call, service: FakeService, submitted: list[str]
) -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(404, json={"code": "route_not_found", "detail": "old proxy"})
        return httpx.Response(200, json=service.jobs[submitted[0]])

    ended = call("wait", submitted[0], "--timeout", "0.1", "--json", transport=slow)

    assert (ended.status, ended.documents[0]["job"]) == (5, submitted[0])
    assert ended.documents[0]["error"]["code"] == "timeout"


def test_people_are_listed(call: Call) -> None:
    header, row = call("people").stdout.splitlines()

    assert header.split()[:2] == ["person", "title"]
    assert row.split() == ["demo", "Demo", "person", "3600", "s", "front,", "side", "CC0-1.0"]
