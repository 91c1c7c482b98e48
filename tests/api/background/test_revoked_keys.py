"""A revoked key ends the requests that wait with it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.background import job_watch
from api.bounds.declare import Pool
from jobs.settings import Settings
from jobs.store.api_keys import ApiKeyStore, NewKey, Scope
from tests.api.rows import submit
from tests.api_server import Served, serving
from tests.problems import problem


@pytest.fixture
def keyed(settings: Settings, tmp_path: Path) -> Iterator[tuple[Served, NewKey]]:
    from jobs.db.engine import connect
    from tests.new_database import create_database

    url = f"sqlite:///{tmp_path}/visavis.db"
    changed = {"data": tmp_path, "database_url": url, "access": "keys"}
    create_database(url)
    engine = connect(url)
    key = ApiKeyStore(engine).create("local", "test", (Scope.READ, Scope.WRITE))
    engine.dispose()
    with serving(settings.model_copy(update=changed)) as served:
        served.http.headers["authorization"] = f"Bearer {key.token}"
        yield served, key


def test_keys_are_checked_every_second() -> None:
    assert job_watch.KEY_SECONDS <= 1.0


def test_a_stream_ends_when_its_key_is_revoked(keyed: tuple[Served, NewKey]) -> None:
    served, key = keyed
    job = submit(served)
    with served.http.stream("GET", f"/jobs/{job.id}/events", timeout=20) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        served.services.database.api_keys.revoke(key.key.id)

        rest = list(lines)  # until the server ends the stream

    assert not any(line.startswith(":") for line in rest)  # before the first heartbeat, at 15 s
    problem(served.http.get(f"/jobs/{job.id}/events"), 401, "key_invalid")


def test_a_long_poll_ends_when_its_key_is_revoked(keyed: tuple[Served, NewKey]) -> None:
    served, key = keyed
    job = submit(served)
    answers = []

    def poll() -> None:
        headers = {"prefer": "wait=60"}
        answers.append(served.http.get(f"/jobs/{job.id}", headers=headers, timeout=30))

    waiting = threading.Thread(target=poll)
    waiting.start()
    while not served.app.state.watch.waiting:
        threading.Event().wait(0.02)
    served.services.database.api_keys.revoke(key.key.id)
    waiting.join()

    problem(answers[0], 401, "key_invalid")


def test_other_keys_are_not_affected(keyed: tuple[Served, NewKey]) -> None:
    served, key = keyed
    keys = served.services.database.api_keys
    other = keys.create("local", "other", (Scope.READ,))

    keys.revoke(other.key.id)

    assert keys.active_of([key.key.id, other.key.id, "unknown"]) == {key.key.id}


def test_an_upload_that_had_begun_is_refused(keyed: tuple[Served, NewKey], clip: bytes) -> None:
    served, key = keyed
    head = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield head
        while not served.app.state.places.taken(Pool.UPLOADS):
            threading.Event().wait(0.02)  # until the server reads the body
        served.services.database.api_keys.revoke(key.key.id)
        yield clip + b"\r\n--x--\r\n"

    kind = "multipart/form-data; boundary=x"
    answer = served.http.post("/generate", content=body(), headers={"content-type": kind})

    problem(answer, 401, "key_invalid")
    assert served.services.database.jobs.page().jobs == []
