"""Many uploads at once, and slow ones: they are bounded, and nobody else waits for them."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from jobs.sandbox.audio_probe import MediaError
from jobs.settings import Settings
from tests.api_server import Served, serving
from tests.problems import problem

HEAD = (
    "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
    "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
)


@pytest.fixture
def narrow(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """An API that takes two uploads at a time."""
    changed = {
        "data": tmp_path,
        "database_url": f"sqlite:///{tmp_path}/visavis.db",
        "uploads_at_once": 2,
    }
    with serving(settings.model_copy(update=changed)) as served:
        yield served


def begin(served: Served) -> socket.socket:
    """An upload that does not go on."""
    host, port = served.http.base_url.host, served.http.base_url.port
    begun = socket.create_connection((host, port), timeout=30)
    begun.sendall(HEAD.encode())
    return begun


def test_one_upload_too_many_is_told_to_come_again(narrow: Served, clip: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(begin(narrow))
        deadline = time.monotonic() + 20
        while True:
            answer = narrow.http.post("/generate", files={"audio": ("a", clip)})
            if answer.status_code != 202:
                break
            assert time.monotonic() < deadline, "both may not have arrived yet"

        assert "All 2 upload slots" in problem(answer, 503, "uploads_busy")["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert narrow.http.get("/jobs").status_code == 200

    while narrow.http.post("/generate", files={"audio": ("a", clip)}).status_code != 202:
        assert time.monotonic() < deadline, "those who left have left their places"


def test_an_upload_that_does_not_arrive_is_given_up(settings: Settings) -> None:
    with (
        serving(settings.model_copy(update={"upload_seconds": 0.3})) as impatient,
        begin(impatient) as begun,
    ):
        said = b""
        while chunk := begun.recv(4096):  # and the connection is closed
            said += chunk

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"upload_too_slow"' in said


def test_a_part_that_does_not_arrive_is_given_up(settings: Settings) -> None:
    with serving(settings.model_copy(update={"upload_seconds": 0.3})) as impatient:
        announced = impatient.http.post("/uploads", json={"bytes": 1000}).json()
        link = httpx.URL(announced["parts"][0]["url"])
        head = (
            f"PUT {link.raw_path.decode()} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        )
        with socket.create_connection((link.host, link.port), timeout=30) as begun:
            begun.sendall(head.encode() + b"\r\n" + bytes(10))
            said = begun.recv(4096)
        again = impatient.http.get(f"/uploads/{announced['id']}").json()

    assert said.startswith(b"HTTP/1.1 408 ")
    assert again["state"] == "open"


def test_whoever_completes_a_large_clip_takes_no_thread_of_others(
    served: Served, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many look at their clips as there are threads for everything else."""
    go_on = threading.Event()

    def slowly(*_: object, **__: object) -> None:
        assert go_on.wait(60)
        raise MediaError("audio_damaged", "it is damaged")

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


def test_who_waits_for_the_end_takes_no_place(narrow: Served, clip: bytes) -> None:
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


def test_a_form_whose_headers_have_no_end_is_refused(served: Served) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="' + b"a" * 1_500_000
    headers = {"content-type": "multipart/form-data; boundary=x"}

    answer = served.http.post("/generate", content=body, headers=headers)

    problem(answer, 400, "malformed_body")
