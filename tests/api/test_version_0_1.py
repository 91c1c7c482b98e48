"""A client of version 0.1 goes on with the new service: see tests/jobs/db/version_0_1.py."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jobs.db.engine import connect, writing
from jobs.db.tables import deliveries
from jobs.settings import Settings
from tests.api_server import Served, serving, write_person
from tests.jobs.db.version_0_1 import FACTS, JOBS, clip, load
from tests.problems import problem


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    people = write_person(tmp_path / "people", "demo")
    url = load(tmp_path / "visavis.db")
    engine = connect(url)
    with writing(engine) as connection:
        connection.execute(deliveries.delete())  # the API would try to send them
    engine.dispose()
    with serving(Settings(data=tmp_path, people=people, database_url=url)) as running:
        yield running


def send(served: Served, **fields: str) -> httpx.Response:
    return served.http.post(
        "/generate",
        files={"audio": ("a.wav", clip())},
        data=FACTS["http"]["form"] | fields,
        headers={"Idempotency-Key": FACTS["http"]["key"]},
    )


def test_a_request_that_is_sent_again_is_answered_with_the_job_that_it_made(served: Served) -> None:
    assert hashlib.sha256(clip()).hexdigest() == FACTS["http"]["clip_sha256"]

    answer = send(served)

    assert answer.status_code == 202
    assert answer.headers["idempotent-replayed"] == "true"
    assert answer.json()["id"] == JOBS["replayed"]
    problem(send(served, takes="3"), 409, "idempotency_key_reused")


def test_jobs_are_listed(served: Served) -> None:
    jobs = served.http.get("/jobs", params={"limit": 50}).json()["jobs"]

    assert {JOBS["succeeded"], JOBS["failed"], JOBS["canceled"]} <= {job["id"] for job in jobs}
