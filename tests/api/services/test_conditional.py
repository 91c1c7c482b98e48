"""ETag, If-None-Match and Prefer: wait, on GET /jobs/{id} and POST /generate."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from api.services.conditional import seconds_to_wait
from tests.api.rows import running, submit, succeeded
from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")

Found = TypeVar("Found")


def get(served: Served, job_id: str, *, known: str = "", wait: int = 0) -> httpx.Response:
    headers = {"If-None-Match": known} if known else {}
    if wait:
        headers["Prefer"] = f"wait={wait}"
    return served.http.get(f"/jobs/{job_id}", headers=headers)


@contextmanager
def later(act: Callable[[], object], *, seconds: float = 0.3) -> Iterator[None]:
    timer = threading.Timer(seconds, act)
    timer.start()
    yield
    timer.join()


def eventually(find: Callable[[], Found | None]) -> Found:
    """Return the result of `find` as soon as it has one."""
    deadline = time.monotonic() + 15
    while not (result := find()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def timed(send: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    start = time.monotonic()
    return send(), time.monotonic() - start


def test_an_unchanged_job_is_a_304(served: Served) -> None:
    job = submit(served)
    first = get(served, job.id)

    second = get(served, job.id, known=first.headers["etag"])

    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["etag"] == first.headers["etag"]
    assert second.headers["retry-after"]
    for known in ("*", f'"other", {first.headers["etag"]}', first.headers["etag"][2:]):
        assert get(served, job.id, known=known).status_code == 304


def test_every_change_changes_the_tag(served: Served) -> None:
    database = served.services.database
    before, job = submit(served), submit(served)
    tags = [get(served, job.id).headers["etag"]]

    def changed() -> bool:
        tags.append(get(served, job.id, known=tags[-1]).headers["etag"])
        return tags[-1] != tags[-2]

    database.jobs.cancel(before.id)
    assert changed()  # its position in the queue has changed
    database.attempts.claim("worker-1")
    assert changed()
    database.attempts.progress(job.id, 1, "face", 0.5)
    assert changed()
    database.attempts.fail(job.id, 1, "clip_missing", "The clip no longer exists.")
    assert changed()
    assert len(set(tags)) == len(tags)


def test_links_do_not_change_the_tag_until_they_are_about_to_expire(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = succeeded(served, tmp_path)
    now = 2_000_000_000.0
    monkeypatch.setattr("api.services.conditional.time.time", lambda: now)
    first = get(served, job.id).headers["etag"]

    assert get(served, job.id).headers["etag"] == first
    now += served.services.settings.link_seconds / 2
    assert get(served, job.id).headers["etag"] != first


def test_a_tag_of_another_job_does_not_match(served: Served) -> None:
    first, second = submit(served), submit(served)

    tag = get(served, first.id).headers["etag"]

    assert get(served, second.id, known=tag).status_code == 200
    assert get(served, second.id, known='nonsense, "x').status_code == 200


def test_waiting_ends_when_the_state_changes(served: Served) -> None:
    job = submit(served)

    with later(lambda: served.services.database.attempts.claim("worker-1")):
        answer, seconds_taken = timed(lambda: get(served, job.id, wait=20))

    assert answer.json()["state"] == "running"
    assert answer.headers["preference-applied"] == "wait=20"
    assert 0.25 < seconds_taken < 5


def test_progress_alone_does_not_end_the_waiting(served: Served) -> None:
    job = running(served)

    with later(lambda: served.services.database.attempts.progress(job.id, 1, "face", 0.5)):
        answer, seconds_taken = timed(lambda: get(served, job.id, wait=1))

    assert (answer.json()["state"], answer.json()["stage"]) == ("running", "face")
    assert 0.9 < seconds_taken < 5


def test_a_state_newer_than_the_tag_is_sent_at_once(served: Served) -> None:
    job = submit(served)
    tag = get(served, job.id).headers["etag"]
    served.services.database.attempts.claim("worker-1")

    answer, seconds_taken = timed(lambda: get(served, job.id, known=tag, wait=20))

    assert answer.json()["state"] == "running"
    assert seconds_taken < 5


def test_a_job_that_has_ended_is_sent_at_once(served: Served, tmp_path: Path) -> None:
    job = succeeded(served, tmp_path)
    tag = get(served, job.id).headers["etag"]

    answer, seconds_taken = timed(lambda: get(served, job.id, wait=20))
    again, seconds_again = timed(lambda: get(served, job.id, known=tag, wait=20))

    assert (answer.json()["state"], again.status_code) == ("succeeded", 304)
    assert max(seconds_taken, seconds_again) < 5


def test_waiting_without_a_change_ends_with_304(served: Served) -> None:
    job = submit(served)
    tag = get(served, job.id).headers["etag"]

    answer, seconds_taken = timed(lambda: get(served, job.id, known=tag, wait=1))

    assert answer.status_code == 304
    assert seconds_taken > 0.9


def test_a_new_attempt_ends_the_waiting(served: Served) -> None:
    job = running(served)
    database = served.services.database

    with later(
        lambda: (database.attempts.release(job.id, 1, "why"), database.attempts.claim("worker-2"))
    ):
        answer, _ = timed(lambda: get(served, job.id, wait=20))

    assert answer.json()["state"] in ("queued", "running")
    assert (answer.json()["state"], answer.json()["attempt"]) != ("running", 1)


def test_a_job_that_is_deleted_during_a_long_poll(served: Served) -> None:
    job = submit(served)

    with later(lambda: served.services.database.jobs.delete(job.id)):
        answer, seconds_taken = timed(lambda: get(served, job.id, wait=20))

    problem(answer, 404, "job_not_found")
    assert seconds_taken < 5
    problem(get(served, "0198", wait=20), 404, "job_not_found")


def test_many_long_polls_do_not_block_other_requests(served: Served) -> None:
    job = submit(served)
    with (
        httpx.Client(base_url=served.http.base_url, timeout=30, verify=False) as client,
        ThreadPoolExecutor(80) as pool,  # twice the threads of the API
    ):
        request = {"url": f"/jobs/{job.id}", "headers": {"prefer": "wait=30"}}
        waiters = [pool.submit(client.get, **request) for _ in range(80)]
        deadline = time.monotonic() + 10
        while served.app.state.watch.waiting < 80 and time.monotonic() < deadline:
            time.sleep(0.02)
        waiting = served.app.state.watch.waiting
        _, seconds_taken = timed(lambda: served.http.get("/jobs"))
        served.services.database.jobs.cancel(job.id)
        states = {waiter.result().json()["state"] for waiter in waiters}

    assert (waiting, states) == (80, {"canceled"})
    assert seconds_taken < 10  # far less than the polls wait


def test_generate_waits_for_the_end(served: Served, clip: bytes) -> None:
    def work() -> None:
        job = eventually(lambda: served.services.database.attempts.claim("worker-1"))
        time.sleep(0.3)
        served.services.database.attempts.fail(
            job.id, 1, "clip_missing", "The clip no longer exists."
        )

    with later(work):
        answer = served.http.post(
            "/generate", files={"audio": ("a", clip)}, headers={"Prefer": "wait=20"}
        )

    assert (answer.status_code, answer.json()["state"]) == (200, "failed")
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["location"].endswith(answer.json()["id"])
    assert "retry-after" not in answer.headers


def test_generate_waits_no_longer_than_requested(served: Served, clip: bytes) -> None:
    answer, seconds_taken = timed(
        lambda: served.http.post(
            "/generate", files={"audio": ("a", clip)}, headers={"Prefer": "wait=1"}
        )
    )

    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert 1 <= seconds_taken < 5


def test_generate_answers_when_its_job_is_deleted_meanwhile(served: Served, clip: bytes) -> None:
    jobs = served.services.database.jobs
    before = {job.id for job in jobs.page().jobs}

    def delete() -> None:
        jobs.delete(eventually(lambda: {job.id for job in jobs.page().jobs} - before).pop())

    with later(delete):
        answer = served.http.post(
            "/generate", files={"audio": ("a", clip)}, headers={"Prefer": "wait=20"}
        )

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0), ("", 0), ("wait=10", 10), ("respond-async, wait=10", 10), ("Wait = 7", 7),
        ('wait="5"', 5), ("wait=0", 0), ("wait=3600", 60), ("wait=-1", 0), ("wait=1.5", 0),
        ("wait=" + "9" * 30, 0), ("wait", 0), ("awaited=5", 0), ("wait=٣", 0),
    ],
)  # fmt: skip
def test_wait_is_parsed_from_the_prefer_header(prefer: str | None, seconds: int) -> None:
    assert seconds_to_wait(prefer) == seconds
