"""Verification of webhooks, with those that the service signs."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

import visavis
from jobs.webhooks.signing import signed_headers, webhook_secret

SECRET, OLD_SECRET = webhook_secret(b"new"), webhook_secret(b"old")
JOB = {
    "id": "0198c0ffee",
    "tenant": "local",
    "state": "succeeded",
    "attempt": 1,
    "max_attempts": 3,
    "created_at": "2026-05-04T12:00:00.000000Z",
    "started_at": "2026-05-04T12:00:01.000000Z",
    "finished_at": "2026-05-04T12:00:09.000000Z",
    "clip_seconds": 2.0,
    "priority": 0,
    "metadata": {"order": "17"},
    "batch": None,
    "callback_url": "https://example.com/hook",
    "request": {"person": "demo"},
    "outputs": [
        {"name": "take-1.mp4", "content_type": "video/mp4", "bytes": 5, "path": "/jobs/x/take-1"}
    ],
    "warnings": [],
    "error": None,
}
EVENT = {"type": "job.succeeded", "timestamp": "2026-05-04T12:00:09.500000Z", "data": JOB}
BODY = json.dumps(EVENT).encode()


def headers(*secrets: str, age: float = 0.0, body: bytes = BODY) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age)
    return signed_headers(secrets, delivery_id="evt-1", at=at, body=body)


def unwrap(body: bytes | str, given: dict[str, str]) -> visavis.WebhookEvent:
    return visavis.Webhooks().unwrap(body, given, SECRET)


def test_an_event_is_typed() -> None:
    event = unwrap(BODY, headers(SECRET))

    assert (event.id, event.type) == ("evt-1", "job.succeeded")
    assert event.timestamp == datetime(2026, 5, 4, 12, 0, 9, 500000, UTC)
    assert (event.job.id, event.job.state, event.job.metadata) == (
        "0198c0ffee",
        "succeeded",
        {"order": "17"},
    )
    assert [output.bytes for output in event.outputs] == [5]


def test_headers_in_any_case_and_a_text_are_accepted() -> None:
    given = {name.title(): value for name, value in headers(SECRET).items()}

    assert unwrap(BODY.decode(), given).job.id == "0198c0ffee"


def test_one_right_signature_of_two_is_enough() -> None:
    assert unwrap(BODY, headers(OLD_SECRET, SECRET))
    assert unwrap(BODY, headers(SECRET, OLD_SECRET))


@pytest.mark.parametrize(
    ("changed", "body", "reason"),
    [
        ({"webhook-id": "evt-2"}, BODY, "no signature"),
        ({"webhook-timestamp": "+1"}, BODY, "no signature"),
        ({"webhook-timestamp": "soon"}, BODY, "webhook-timestamp"),
        ({"webhook-signature": ""}, BODY, "no signature"),
        ({"webhook-signature": "v1,\u00e4"}, BODY, "no signature"),
        ({}, BODY + b" ", "no signature"),
    ],
)
def test_other_bodies_and_headers_are_refused(
    changed: dict[str, str], body: bytes, reason: str
) -> None:
    given = headers(SECRET) | changed
    if given["webhook-timestamp"] == "+1":
        given["webhook-timestamp"] = str(int(time.time()) + 1)

    with pytest.raises(visavis.WebhookVerificationError, match=reason):
        unwrap(body, given)


def test_another_secret_is_refused() -> None:
    with pytest.raises(visavis.WebhookVerificationError, match="no signature"):
        unwrap(BODY, headers(OLD_SECRET))


@pytest.mark.parametrize(("age", "reason"), [(400, "the limit is 300 s"), (-400, "clock")])
def test_a_time_that_is_far_away_is_refused(age: float, reason: str) -> None:
    with pytest.raises(visavis.WebhookVerificationError, match=reason):
        unwrap(BODY, headers(SECRET, age=age))


@pytest.mark.parametrize("body", [b"{}", b"[]", b"text"])
def test_a_signed_body_that_is_not_an_event_is_refused(body: bytes) -> None:
    with pytest.raises(visavis.WebhookVerificationError, match="not an event"):
        unwrap(body, headers(SECRET, body=body))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name: str) -> None:
    given = headers(SECRET)
    del given[name]

    with pytest.raises(visavis.WebhookVerificationError, match=name):
        unwrap(BODY, given)


def test_an_invalid_secret_is_named() -> None:
    with pytest.raises(visavis.WebhookVerificationError, match="whsec_"):
        visavis.Webhooks().unwrap(BODY, headers(SECRET), "whsec_???")


def test_the_age_limit_can_be_chosen() -> None:
    event = visavis.Webhooks().unwrap(BODY, headers(SECRET, age=400), SECRET, oldest_seconds=500)

    assert event.id == "evt-1"
