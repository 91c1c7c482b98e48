"""Concurrent and slow uploads: their number is limited, and other requests do not wait."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from jobs.sandbox.audio_formats import MediaError
from jobs.settings import Settings
from tests.api_server import Served, serving
from tests.problems import problem

HEAD = (
    "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
    "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
)


@pytest.fixture
def narrow(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """A server with two upload slots."""
    changed = {
        "data": tmp_path,
        "database_url": f"sqlite:///{tmp_path}/visavis.db",
        "uploads_at_once": 2,
    }
    with serving(settings.model_copy(update=changed)) as served:
        yield served


def open_upload(served: Served) -> socket.socket:
    """Start an upload that stalls."""
    host, port = served.http.base_url.host, served.http.base_url.port
    connection = socket.create_connection((host, port), timeout=30)
    connection.sendall(HEAD.encode())
    return connection


def test_an_upload_without_a_free_slot_gets_503_with_retry_after(
    narrow: Served, clip: bytes
) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(open_upload(narrow))
        deadline = time.monotonic() + 20
        while True:
            answer = narrow.http.post("/generate", files={"audio": ("a", clip)})
            if answer.status_code != 202:
                break
            assert time.monotonic() < deadline, "the two stalled uploads did not take both slots"

        assert "All 2 places for uploads" in problem(answer, 503, "uploads_busy")["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert narrow.http.get("/jobs").status_code == 200

    while narrow.http.post("/generate", files={"audio": ("a", clip)}).status_code != 202:
        assert time.monotonic() < deadline, "closed connections did not release their slots"


def test_a_stalled_upload_times_out(settings: Settings) -> None:
    with (
        serving(settings.model_copy(update={"upload_seconds": 0.3})) as impatient,
        open_upload(impatient) as connection,
    ):
        received = b""
        while chunk := connection.recv(4096):  # until the server closes the connection
            received += chunk

    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"upload_too_slow"' in received


def test_a_stalled_part_times_out(settings: Settings) -> None:
    with serving(settings.model_copy(update={"upload_seconds": 0.3})) as impatient:
        announced = impatient.http.post("/uploads", json={"bytes": 1000}).json()
        link = httpx.URL(announced["parts"][0]["url"])
        head = (
            f"PUT {link.raw_path.decode()} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        )
        with socket.create_connection((link.host, link.port), timeout=30) as connection:
            connection.sendall(head.encode() + b"\r\n" + bytes(10))
            received = connection.recv(4096)
        again = impatient.http.get(f"/uploads/{announced['id']}").json()

    assert received.startswith(b"HTTP/1.1 408 ")
    assert again["state"] == "open"


def test_completing_large_clips_does_not_block_other_requests(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More clips are probed at the same time than there are threads for other requests."""
    go_on = threading.Event()

    def slowly(*_: object, **__: object) -> None:
        assert go_on.wait(60)
        raise MediaError("audio_damaged", "the file is damaged")

    monkeypatch.setattr("api.services.multipart_uploads.probed", slowly)
    ids = []
    for _ in range(45):
        announced = served.http.post("/uploads", json={"bytes": len(clip)}).json()
        assert served.http.put(announced["parts"][0]["url"], content=clip).status_code == 204
        ids.append(announced["id"])
    with ThreadPoolExecutor(len(ids)) as pool:
        waiting = [
            pool.submit(served.http.post, f"/uploads/{each}/complete", timeout=90) for each in ids
        ]
        try:
            deadline = time.monotonic() + 30
            while served.app.state.intake._threads.borrowed_tokens < len(ids):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            read = served.http.get("/jobs")
        finally:
            go_on.set()

    assert read.status_code == 200
    assert {each.result().status_code for each in waiting} == {422}


def test_a_request_that_waits_for_its_job_holds_no_slot(narrow: Served, clip: bytes) -> None:
    def send(**headers: str) -> httpx.Response:
        return narrow.http.post("/generate", files={"audio": ("a", clip)}, headers=headers)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(send, prefer="wait=60") for _ in range(2)]
        deadline = time.monotonic() + 20
        while narrow.app.state.watch.waiting < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        third = send()
        for job in narrow.http.get("/jobs").json()["jobs"]:
            narrow.http.delete(f"/jobs/{job['id']}")

    assert third.status_code == 202
    assert [each.result().status_code for each in waiting] == [202, 202]


def test_a_form_with_endless_headers_is_refused(served: Served) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="' + b"a" * 1_500_000
    headers = {"content-type": "multipart/form-data; boundary=x"}

    answer = served.http.post("/generate", content=body, headers=headers)

    problem(answer, 400, "malformed_body")
