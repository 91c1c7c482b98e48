"""GET /jobs/{id}/events as an EventSource reads it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from api.routes import events as module
from tests.api.rows import running, submit, succeeded
from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    id: str
    data: dict


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
        fields = {}


@contextmanager
def following(served: Served, job_id: str, last: str = "") -> Iterator[Iterator[Event]]:
    headers = {"Last-Event-ID": last} if last else {}
    with served.http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield parsed(answer.iter_lines())


def soon(act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(0.3, act)
    timer.start()
    return timer


def test_a_job_is_followed_from_the_queue_to_its_end(served: Served) -> None:
    database = served.services.database
    before, job = submit(served), submit(served)
    with following(served, job.id) as events:
        received = [next(events)]
        database.jobs.cancel(before.id)
        received.append(next(events))
        claimed = database.attempts.claim("worker-1")
        assert claimed is not None
        received.append(next(events))
        database.attempts.progress(job.id, claimed.attempt, "face", 0.5)
        received.append(next(events))
        database.attempts.succeed(job.id, claimed.attempt, [])
        received.extend(events)  # until the server ends the stream

    states = [
        (event.data["state"], event.data["stage"], event.data["position"]) for event in received
    ]
    assert states == [
        ("queued", "queued", 2),
        ("queued", "queued", 1),
        ("running", "decode", None),
        ("running", "face", None),
        ("succeeded", "publish", None),
    ]
    assert {event.name for event in received} == {"job"}
    assert len({event.id for event in received}) == 5


def test_an_event_contains_the_same_job_as_get(served: Served, tmp_path: Path) -> None:
    job = succeeded(served, tmp_path)

    with following(served, job.id) as events:
        (event,) = events

    read = served.http.get(f"/jobs/{job.id}").json()
    for each in (event.data, read):
        assert served.http.get(each["outputs"][0].pop("url")).status_code == 200
    assert event.data == read


def test_last_event_id_skips_known_states(served: Served) -> None:
    job = submit(served)
    with following(served, job.id) as events:
        first = next(events)
    timer = soon(lambda: served.services.database.attempts.claim("worker-1"))

    with following(served, job.id, first.id) as events:
        second = next(events)
    with following(served, job.id, first.id) as events:
        again = next(events)

    timer.join()
    assert second.data["state"] == again.data["state"] == "running"
    assert second.id == again.id != first.id


def test_last_event_id_of_the_final_state_is_answered_with_204(served: Served) -> None:
    job = submit(served)
    served.services.database.jobs.cancel(job.id)
    with following(served, job.id) as events:
        (last,) = events

    answer = served.http.get(f"/jobs/{job.id}/events", headers={"Last-Event-ID": last.id})

    assert (answer.status_code, answer.content) == (204, b"")
    with following(served, job.id, "something-else") as events:
        assert [event.data["state"] for event in events] == ["canceled"]


def test_deleting_a_job_ends_its_stream(served: Served) -> None:
    job = running(served)
    with following(served, job.id) as events:
        next(events)
        served.http.delete(f"/jobs/{job.id}")
        (last,) = events

    assert (last.name, last.data) == ("deleted", {"id": job.id})
    problem(served.http.get(f"/jobs/{job.id}/events"), 404, "job_not_found")


def test_a_silent_stream_sends_comments(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    job = submit(served)
    with served.http.stream("GET", f"/jobs/{job.id}/events") as answer:
        lines = islice(answer.iter_lines(), 30)
        comments = sum(line.startswith(":") for line in lines)

    assert comments >= 3


def test_a_disconnected_client_is_removed(served: Served) -> None:
    job = submit(served)
    with following(served, job.id) as events:
        next(events)
        until(lambda: served.app.state.watch.waiting == 1)

    until(lambda: served.app.state.watch.waiting == 0)


def test_a_short_outage_of_the_database_does_not_end_the_stream(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = served.services.database
    get, failures = database.jobs.get, [OperationalError("select", {}, Exception("away"))]

    def get_after_a_while(job_id: str, **whose: object) -> object:
        if failures:
            raise failures.pop()
        return get(job_id, **whose)

    job = submit(served)
    with following(served, job.id) as events:
        next(events)
        monkeypatch.setattr(database.jobs, "get", get_after_a_while)
        database.jobs.cancel(job.id)
        (last,) = events

    assert (last.data["state"], failures) == ("canceled", [])


def test_streams_hold_no_threads(served: Served) -> None:
    job = submit(served)
    threads = threading.active_count()
    limits = httpx.Limits(max_connections=100)
    with httpx.Client(
        base_url=served.http.base_url, limits=limits, timeout=30, verify=False
    ) as client:
        streams = [client.stream("GET", f"/jobs/{job.id}/events") for _ in range(60)]
        answers = [stream.__enter__() for stream in streams]
        until(lambda: served.app.state.watch.waiting == 60)
        assert served.http.get("/jobs").status_code == 200
        assert threading.active_count() < threads + 50
        served.services.database.jobs.cancel(job.id)
        ends = [list(parsed(answer.iter_lines()))[-1].data["state"] for answer in answers]
        for stream in streams:
            stream.__exit__(None, None, None)

    assert ends == ["canceled"] * 60


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline, "the condition was not met"
        time.sleep(0.02)
