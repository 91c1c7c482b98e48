"""Webhooks from the request to a TLS receiver on loopback, and their deliveries."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from jobs.model import Output
from jobs.settings import Settings
from jobs.webhooks.signing import webhook_secret
from tests.api_server import Served, serving
from tests.problems import problem
from tests.webhook_receiver import Receiver, receiving

API_DOCS = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
VIDEO = Output("take-1.mp4", "jobs/a/attempt-1/take-1.mp4", "video/mp4", 1234)
# Members that change until the job ends.
PROGRESS = {"stage", "stages", "progress", "position", "seconds_left", "live"}
RETENTION = {"expires_at", "expired"}  # members that depend on settings
CONSENT = {"consent", "partner_consent"}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("receiver")) as server:
        yield server


@pytest.fixture(scope="module")
def notifying(settings: Settings, receiver: Receiver, tmp_path_factory: Any) -> Iterator[Served]:
    """A server that may send to the receiver."""
    changed = {
        "data": tmp_path_factory.mktemp("notifying"),
        "outbound_allow": ("127.0.0.1",),
        "outbound_ca": receiver.ca,
    }
    values = settings.model_dump(exclude={"database_url", "storage_url", "scratch"}) | changed
    with serving(Settings.model_validate(values)) as server:
        yield server


@pytest.fixture(autouse=True)
def _cleared(receiver: Receiver) -> None:
    receiver.received.clear()
    receiver.answers.clear()


def generate(served: Served, clip: bytes, url: str, **more: Any) -> httpx.Response:
    files = {"audio": ("talk.wav", clip)}
    return served.http.post("/generate", files=files, data={"callback_url": url}, **more)


def succeed(served: Served) -> None:
    job = served.services.database.attempts.claim("worker-1")
    assert job is not None
    assert served.services.database.attempts.succeed(job.id, job.attempt, [VIDEO])


def deliveries(served: Served, job: dict[str, Any]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = served.http.get(f"/jobs/{job['id']}/deliveries").json()[
        "deliveries"
    ]
    return listed


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met"
        time.sleep(0.02)


def is_delivered(served: Served, job: dict[str, Any]) -> bool:
    return [each["state"] for each in deliveries(served, job)] == ["delivered"]


def test_the_receiver_can_verify_the_webhook(
    notifying: Served, receiver: Receiver, clip: bytes
) -> None:
    job = generate(notifying, clip, receiver.url()).json()
    assert job["callback_url"] == receiver.url()
    assert deliveries(notifying, job) == []
    succeed(notifying)

    (request,) = receiver.wait_for(1)
    until(lambda: is_delivered(notifying, job))

    secret = webhook_secret(notifying.services.settings.signing_key())
    event = Webhook(secret).verify(request.body, request.headers)
    (delivery,) = deliveries(notifying, job)
    (sent,) = delivery["tries"]
    assert event["type"] == delivery["type"] == "job.succeeded"
    assert request.headers["webhook-id"] == delivery["id"]
    assert request.headers["content-type"] == "application/json"
    assert (delivery["url"], delivery["next_try_at"]) == (receiver.url(), None)
    assert (sent["status"], sent["error"]) == (200, None)

    view = notifying.http.get(f"/jobs/{job['id']}").json()
    assert set(view) - set(event["data"]) == PROGRESS | RETENTION | CONSENT
    for output in view["outputs"]:
        del output["url"]
    assert event["data"] == {name: view[name] for name in event["data"]}


def test_the_example_in_the_docs_verifies_the_webhook(
    notifying: Served, receiver: Receiver, clip: bytes
) -> None:
    job = generate(notifying, clip, receiver.url()).json()
    assert notifying.http.post(f"/jobs/{job['id']}/cancel").status_code == 200
    (request,) = receiver.wait_for(1)
    (example,) = re.findall(r"```python\n(.*?)```", API_DOCS, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)

    secret = webhook_secret(notifying.services.settings.signing_key())
    event = names["event_of"](request.body, request.headers, secret)

    assert (event["type"], event["data"]["id"]) == ("job.canceled", job["id"])
    with pytest.raises(Exception, match="No matching signature"):
        names["event_of"](request.body + b" ", request.headers, secret)


def test_a_failed_delivery_is_sent_again(
    notifying: Served, receiver: Receiver, clip: bytes
) -> None:
    receiver.answers["/hook"] = [500]
    job = generate(notifying, clip, receiver.url()).json()
    notifying.http.post(f"/jobs/{job['id']}/cancel")
    until(lambda: any(each["tries"] for each in deliveries(notifying, job)))
    (failed,) = deliveries(notifying, job)
    assert failed["state"] == "pending"
    assert failed["next_try_at"] is not None
    assert failed["tries"][0]["error"] == "The receiver answered 500: 'no, sorry'."

    answer = notifying.http.post(f"/jobs/{job['id']}/deliveries/{failed['id']}/redeliver")

    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    until(lambda: is_delivered(notifying, job))
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_a_redirect_is_not_followed(notifying: Served, receiver: Receiver, clip: bytes) -> None:
    job = generate(notifying, clip, receiver.url("/redirect")).json()
    notifying.http.post(f"/jobs/{job['id']}/cancel")

    until(lambda: any(each["tries"] for each in deliveries(notifying, job)))

    assert [request.path for request in receiver.received] == ["/redirect"]
    assert "redirects are not followed" in deliveries(notifying, job)[0]["tries"][0]["error"]


def test_a_host_that_resolves_to_loopback_is_not_contacted(
    notifying: Served, receiver: Receiver, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL is accepted; addresses are checked when the name is resolved for a connection."""

    async def loopback(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "127.0.0.2"]

    monkeypatch.setattr(notifying.services.outbound, "_resolve", loopback)
    job = generate(notifying, clip, receiver.url(host="hooks.example")).json()
    notifying.http.post(f"/jobs/{job['id']}/cancel")

    until(lambda: any(each["tries"] for each in deliveries(notifying, job)))

    (sent,) = deliveries(notifying, job)[0]["tries"]
    assert sent["status"] is None
    assert sent["error"] == "The host hooks.example is not on the public internet: loopback."
    assert receiver.received == []


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://example.com/hook", "The URL does not begin with https://."),
        ("https://127.0.0.1/", "The host 127.0.0.1 is not on the public internet: loopback."),
        ("https://[::ffff:169.254.169.254]/", "not on the public internet: link-local."),
        ("https://2130706433/", "write IPv4 as four decimal numbers."),
        ("https://localhost:8443/", "The host localhost is not on the public internet."),
        ("https://me:word@example.com/", "a user name or a password; remove them."),
        ("https://example.com:25/", "The URL has port 25;"),
        ("x" * 3000, "The URL is 3000 characters long;"),
    ],
)
def test_an_invalid_or_internal_url_is_refused(
    served: Served, clip: bytes, url: str, text: str
) -> None:
    body = problem(generate(served, clip, url), 422, "callback_url_refused")

    assert text in body["detail"]
    assert [error["field"] for error in body["errors"]] == ["callback_url"]


def test_the_url_is_shown_in_normal_form(served: Served, clip: bytes) -> None:
    answer = generate(served, clip, "https://Bücher.example:443")

    assert answer.json()["callback_url"] == "https://xn--bcher-kva.example/"


def test_an_empty_url_is_null(served: Served, clip: bytes) -> None:
    answer = generate(served, clip, "")

    assert (answer.status_code, answer.json()["callback_url"]) == (202, None)


def test_another_url_is_another_request(served: Served, clip: bytes) -> None:
    keyed = {"headers": {"Idempotency-Key": "callback"}}
    first = generate(served, clip, "https://a.example/", **keyed)
    same = generate(served, clip, "https://a.example/", **keyed)
    other = generate(served, clip, "https://b.example/", **keyed)

    assert first.json()["id"] == same.json()["id"]
    problem(other, 409, "idempotency_key_reused")


def test_deliveries_of_an_unknown_job_are_not_found(served: Served, clip: bytes) -> None:
    job = generate(served, clip, "https://a.example/").json()
    post = served.http.post

    problem(served.http.get("/jobs/x/deliveries"), 404, "job_not_found")
    problem(post("/jobs/x/deliveries/y/redeliver"), 404, "job_not_found")
    body = problem(post(f"/jobs/{job['id']}/deliveries/y/redeliver"), 404, "delivery_not_found")
    assert "'y'" in body["detail"]


def test_a_webhook_body_is_plain_json(notifying: Served, receiver: Receiver, clip: bytes) -> None:
    job = generate(notifying, clip, receiver.url()).json()
    notifying.http.post(f"/jobs/{job['id']}/cancel")
    (request,) = receiver.wait_for(1)

    event = json.loads(request.body)

    assert set(event) == {"type", "timestamp", "data"}
    assert event["timestamp"].endswith("Z")
