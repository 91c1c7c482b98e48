"""Pages and filters of GET /jobs."""

import pytest

from tests.api.rows import running, submit
from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def listed(served: Served, **params: object) -> dict:
    answer = served.http.get("/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_next_page_continues_where_the_last_one_ended(served: Served) -> None:
    submitted = [submit(served).id for _ in range(5)][::-1]

    first = listed(served, limit=3)
    submit(served)  # a newer job does not shift pages
    second = listed(served, limit=3, cursor=first["next"])

    ids = [job["id"] for job in first["jobs"] + second["jobs"]]
    assert ids[:5] == submitted
    assert first["next"] not in (None, second["next"])


def test_the_last_page_has_no_next(served: Served) -> None:
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = listed(served, limit=100, **({"cursor": cursor} if cursor else {}))
        cursor, pages = page["next"], pages + 1
        assert page["jobs"]

    assert listed(served, person="ada")["next"] is None


def test_jobs_are_filtered_by_state(served: Served) -> None:
    running_job, waiting = running(served), submit(served)

    queued = listed(served, state="queued")["jobs"]
    both = listed(served, state=["queued", "running"])["jobs"]

    assert [(job["id"], job["position"]) for job in queued] == [(waiting.id, 1)]
    assert [job["id"] for job in both[:2]] == [waiting.id, running_job.id]
    assert {job["state"] for job in both} == {"queued", "running"}


def test_jobs_are_filtered_by_time(served: Served) -> None:
    first, second = submit(served), submit(served)

    after = listed(served, created_after=second.created_at.isoformat())
    before = listed(served, created_before=second.created_at.isoformat(), limit=1)

    assert [job["id"] for job in after["jobs"]] == [second.id]
    assert [job["id"] for job in before["jobs"]] == [first.id]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "all"),
        ("cursor", "nonsense"),
        ("cursor", "x" * 201),
        ("state", "asleep"),
        ("person", "../demo"),
        ("created_after", "yesterday"),
        ("created_after", "2026-05-04T12:00:00"),
        ("created_before", "0001-01-01T00:00:00+14:00"),
        ("created_before", "9999-12-31T23:59:59-14:00"),
        ("colour", "red"),
    ],
)
def test_an_invalid_parameter_is_named(served: Served, field: str, value: str) -> None:
    body = problem(served.http.get("/jobs", params={field: value}), 422, "invalid_request")

    assert body["errors"][0]["field"].split(".")[0] == field
    assert field in body["detail"]
