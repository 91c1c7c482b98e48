"""`priority` and `metadata` of POST /generate."""

import json

import httpx
import pytest

from tests.api_server import Served
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


def generate(served: Served, clip: bytes, key: str = "", **fields: str) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    files = {"audio": ("talk.wav", clip)}
    return served.http.post("/generate", files=files, data=fields, headers=headers)


def test_a_higher_priority_comes_first(served: Served, clip: bytes) -> None:
    plain = generate(served, clip).json()
    high = generate(served, clip, priority="10").json()
    low = generate(served, clip, priority="-10").json()

    jobs = [served.http.get(f"/jobs/{job['id']}").json() for job in (high, plain, low)]

    assert [(job["priority"], job["position"]) for job in jobs] == [(10, 1), (0, 2), (-10, 3)]


def test_sentis_returned(served: Served, clip: bytes) -> None:
    sent = {"order": "17", "Übung": "✓", "empty": ""}

    job = generate(served, clip, metadata=json.dumps(sent)).json()

    assert job["metadata"] == sent
    assert served.http.get(f"/jobs/{job['id']}").json()["metadata"] == sent
    assert served.http.get("/jobs?limit=1").json()["jobs"][0]["metadata"] == sent
    assert "metadata" not in job["request"]


def test_both_are_optional(served: Served, clip: bytes) -> None:
    for fields in ({}, {"priority": "", "metadata": ""}):
        job = generate(served, clip, **fields).json()
        assert (job["priority"], job["metadata"]) == (0, {})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", "11"),
        ("priority", "-11"),
        ("priority", "1.5"),
        ("priority", "high"),
        ("metadata", "order 17"),
        ("metadata", "[]"),
        ("metadata", "null"),
        ("metadata", '{"order": 17}'),
        ("metadata", '{"a": {"b": "c"}}'),
        ("metadata", '{"": "no name"}'),
        ("metadata", json.dumps({"k" * 65: "v"})),
        ("metadata", json.dumps({"k": "v" * 257})),
        ("metadata", json.dumps({f"k{number}": "v" for number in range(17)})),
        ("metadata", '{"nul": "a\\u0000b"}'),
        ("metadata", '{"a\\u0000b": "nul"}'),
        ("metadata", '{"half": "\\ud800"}'),
        ("metadata", "[" * 4000),
        ("metadata", '{"a": NaN}'),
    ],
)
def test_an_invalid_value_is_named(served: Served, clip: bytes, field: str, value: str) -> None:
    body = problem(generate(served, clip, **{field: value}), 422, "invalid_request")

    assert body["errors"][0]["field"].split(".")[0] == field


def test_both_are_part_of_an_idempotent_request(served: Served, clip: bytes) -> None:
    sent = '{"a": "1", "b": "2"}'
    first = generate(served, clip, "priority-and-metadata", metadata=sent, priority="1")

    same = generate(
        served, clip, "priority-and-metadata", metadata='{"b":"2","a":"1"}', priority="1"
    )

    assert same.json()["id"] == first.json()["id"]
    for fields in ({"metadata": sent}, {"priority": "1"}):
        problem(
            generate(served, clip, "priority-and-metadata", **fields), 409, "idempotency_key_reused"
        )
