"""/batches: many jobs in one request, accepted as a whole or not at all."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest

from jobs.model import State
from tests.api.services.test_multipart_uploads import announce, uploaded
from tests.api_server import Served
from tests.audio_clips import write_clip
from tests.problems import problem

pytestmark = pytest.mark.usefixtures("queue")


@pytest.fixture(scope="module")
def upload(served: Served, clip: bytes) -> str:
    return str(uploaded(served, clip)["id"])


def send(served: Served, items: list[object], key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return served.http.post("/batches", json={"items": items}, headers=headers)


def batch(served: Served, items: list[object]) -> dict:
    answer = send(served, items)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_batch_makes_its_jobs_in_their_order(served: Served, upload: str) -> None:
    items = [{"upload_id": upload, "seed": n, "metadata": {"n": str(n)}} for n in range(5)]

    answer = send(served, items)

    view = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/batches/{view['id']}"
    assert (view["size"], view["ended"]) == (5, False)
    assert view["counts"]["queued"] == 5
    assert [item["place"] for item in view["items"]] == [1, 2, 3, 4, 5]
    jobs = [served.http.get(f"/jobs/{item['job']}").json() for item in view["items"]]
    assert [job["request"]["seed"] for job in jobs] == [0, 1, 2, 3, 4]
    assert [job["metadata"]["n"] for job in jobs] == ["0", "1", "2", "3", "4"]
    assert [job["position"] for job in jobs] == [1, 2, 3, 4, 5]
    assert {job["batch"] for job in jobs} == {view["id"]}
    assert served.http.get(f"/batches/{view['id']}").json() == view
    listed = served.http.get("/jobs", params={"batch": view["id"]}).json()["jobs"]
    assert {job["id"] for job in listed} == {item["job"] for item in view["items"]}


def test_a_body_may_be_json_lines(served: Served, upload: str) -> None:
    lines = "\n".join(json.dumps({"upload_id": upload, "takes": n}) for n in (1, 2)) + "\n\n"

    answer = served.http.post(
        "/batches", content=lines, headers={"content-type": "application/jsonl"}
    )

    assert answer.status_code == 202, answer.text
    takes = [
        served.http.get(f"/jobs/{item['job']}").json()["request"]["takes"]
        for item in answer.json()["items"]
    ]
    assert takes == [1, 2]


def test_a_batch_has_at_most_a_thousand_jobs(served: Served, upload: str) -> None:
    view = batch(served, [{"upload_id": upload}] * 1000)
    assert view["counts"]["queued"] == 1000

    body = problem(send(served, [{"upload_id": upload}] * 1001), 422, "invalid_request")

    assert "1 to 1000 items, not 1001" in body["detail"]


def test_a_batch_lists_state_and_error_of_each_job(served: Served, upload: str) -> None:
    database = served.services.database
    view = batch(served, [{"upload_id": upload, "priority": 10}] * 4)
    first, second, third, fourth = (item["job"] for item in view["items"])
    assert database.attempts.claim("w").id == first  # type: ignore[union-attr]
    database.attempts.fail(first, 1, "clip_silent", "The clip is silent.")
    assert database.attempts.claim("w").id == second  # type: ignore[union-attr]
    database.jobs.delete(third)

    view = served.http.get(f"/batches/{view['id']}").json()

    assert view["counts"] == {
        "queued": 1, "running": 1, "succeeded": 0, "failed": 1, "canceled": 0, "deleted": 1,
    }  # fmt: skip
    assert [(item["job"], item["state"]) for item in view["items"]] == [
        (first, "failed"), (second, "running"), (fourth, "queued"),
    ]  # fmt: skip
    assert view["items"][0]["error"] == {"code": "clip_silent", "detail": "The clip is silent."}
    database.batches.cancel(view["id"])


def test_cancel_ends_queued_and_running_jobs(served: Served, upload: str) -> None:
    database = served.services.database
    view = batch(served, [{"upload_id": upload, "priority": 10}] * 3)
    done = view["items"][0]["job"]
    assert database.attempts.claim("w").id == done  # type: ignore[union-attr]
    database.attempts.succeed(done, 1, [])
    assert database.attempts.claim("w") is not None

    answers = [served.http.post(f"/batches/{view['id']}/cancel") for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 200
        assert [item["state"] for item in answer.json()["items"]] == [
            "succeeded", "canceled", "canceled",
        ]  # fmt: skip
        assert answer.json()["ended"]
        assert "retry-after" not in answer.headers


def test_the_same_request_gives_the_same_batch(served: Served, upload: str) -> None:
    items: list[object] = [{"upload_id": upload, "takes": 2}, {"upload_id": upload}]

    first, again = send(served, items, "batch-1"), send(served, items, "batch-1")

    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    problem(send(served, items[:1], "batch-1"), 409, "idempotency_key_reused")


BAD_ITEMS = [
    ([], "items: should be 1 to 1000 items, not 0"),
    ([{}], "items.1.upload_id: is missing"),
    ([7], "items.1"),
    ([{"upload_id": "?"}], "items.1.upload_id"),
    ([{"upload_id": "0" * 32, "audio": "AAAA"}], "items.1.audio: unknown field"),
]


@pytest.mark.parametrize(("items", "message"), BAD_ITEMS)
def test_invalid_items_are_named(served: Served, items: list[object], message: str) -> None:
    body = problem(send(served, items), 422, "invalid_request")

    assert message in body["detail"]


def test_every_invalid_item_is_named(served: Served, upload: str) -> None:
    items: list[object] = [{"upload_id": upload, "takes": n} for n in (1, 0, 2, 11)]

    body = problem(send(served, items), 422, "invalid_request")

    assert [each["field"] for each in body["errors"]] == ["items.2.takes", "items.4.takes"]


def test_one_refused_item_refuses_the_batch(
    served: Served, upload: str, clip: bytes, tmp_path: Path
) -> None:
    before = len(served.services.database.jobs.page(limit=100).jobs)
    good = {"upload_id": upload}
    long = uploaded(served, write_clip(tmp_path / "long.flac", seconds=2.5).read_bytes())["id"]
    for bad, code in (
        ({"upload_id": "0" * 32}, "upload_unknown"),
        ({"upload_id": announce(served, len(clip))["id"]}, "upload_incomplete"),
        (good | {"person": "bob"}, "person_unknown"),
        (good | {"views": ["roof"]}, "view_unknown"),
        (good | {"size": "2048", "views": ["front", "side", "back"]}, "size_unsupported"),
        (good | {"callback_url": "https://127.0.0.1/"}, "callback_url_refused"),
        ({"upload_id": long, "person": "ada"}, "clip_too_long"),
    ):
        body = problem(send(served, [good, bad]), 422, code)
        assert body["detail"].startswith("items.2: "), body
        assert all(each["field"].startswith("items.2.") for each in body["errors"])

    assert len(served.services.database.jobs.page(limit=100).jobs) == before


@pytest.fixture
def three_more(served: Served) -> Iterator[int]:
    """Allow three more jobs; yields the number of jobs in flight."""
    database = served.services.database
    tenants = database.tenants
    (local,) = (each for each in tenants.all(date.today()) if each.name == "local")
    before = local.usage.jobs_in_flight
    tenants.set_own("local", {"jobs_in_flight": before + 3})
    yield before
    tenants.set_own("local", {"jobs_in_flight": None})


def test_the_quota_applies_to_the_whole_batch(served: Served, upload: str, three_more: int) -> None:
    body = problem(send(served, [{"upload_id": upload}] * 4), 429, "quota_jobs")
    assert f"{three_more} of {three_more + 3} queued" in body["detail"]
    assert batch(served, [{"upload_id": upload}] * 3)["counts"]["queued"] == 3


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_body"),
        (b"[]", "application/json", 422, "invalid_request"),
        (b'{"items": {}}', "application/json", 422, "invalid_request"),
        (b'{"items": [], "more": 1}', "application/json", 422, "invalid_request"),
        (b"{}\n{", "application/jsonl", 400, "malformed_body"),
        (b"", "application/jsonl", 422, "invalid_request"),
        (b"a,b", "text/csv", 415, "body_type_unsupported"),
        (b"[" + b" " * 20_000_000 + b"]", "application/json", 413, "upload_too_large"),
    ],
)
def test_another_body_is_refused(
    served: Served, content: bytes, kind: str, status: int, code: str
) -> None:
    answer = served.http.post("/batches", content=content, headers={"content-type": kind})

    problem(answer, status, code)


def test_an_unknown_batch_is_not_found(served: Served) -> None:
    for answer in (served.http.get("/batches/x"), served.http.post("/batches/x/cancel")):
        assert "'x'" in problem(answer, 404, "batch_not_found")["detail"]


def test_a_batch_belongs_to_its_tenant(served: Served, upload: str) -> None:
    view = batch(served, [{"upload_id": upload}])
    batches = served.services.database.batches

    assert batches.get(view["id"], tenant="local").size == 1
    with pytest.raises(LookupError, match=view["id"]):
        batches.get(view["id"], tenant="rival")
    with pytest.raises(LookupError, match=view["id"]):
        served.services.database.batches.cancel(view["id"], tenant="rival")
    assert served.services.database.jobs.get(view["items"][0]["job"]).state is State.QUEUED
