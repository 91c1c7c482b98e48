"""Check of error responses: problem details as of RFC 9457."""

from typing import Any

import httpx


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is a valid problem and return its body."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"][0].isupper() or body.get("errors"), body["detail"]
    assert body["detail"].endswith(".")
    assert answer.headers["x-request-id"]
    return body
