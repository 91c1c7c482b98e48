"""Events of a finished job, sent to the webhook receiver of docs/recipes.md."""

import json
import os
import threading
import time
from datetime import UTC, datetime
from http.server import HTTPServer
from pathlib import Path

import httpx
from standardwebhooks import Webhook

SECONDS = 60.0


def send_to(server: HTTPServer, secret: str) -> None:
    """Send an event, the same again, and a forged one; wait for the file that the receiver writes.

    Raises:
        AssertionError: when an answer is wrong, or the file is missing.
    """
    job = _finished_job()
    event = {"type": "job.succeeded", "timestamp": "2026-05-04T12:00:00.000000Z", "data": job}
    sent = threading.Thread(target=lambda: [server.handle_request() for _ in range(3)])
    sent.start()
    statuses = [_post(server, event, secret), _post(server, event, secret)]
    statuses.append(_post(server, event, "whsec_" + "A" * 44))
    sent.join()
    server.server_close()
    assert statuses == [204, 204, 400], statuses
    file = Path(f"{job['id']}.mp4")
    deadline = time.monotonic() + SECONDS
    while not file.exists():
        assert time.monotonic() < deadline, "no file"
        time.sleep(0.05)


def _finished_job() -> dict[str, object]:
    address = f"{os.environ['VISAVIS_BASE_URL']}/generate"
    files = {"audio": Path("conversation.wav").read_bytes()}
    answer = httpx.post(address, files=files, headers={"Prefer": "wait=60"}, timeout=90)
    assert answer.status_code == 200, answer.text
    content: dict[str, object] = answer.json()
    return content


def _post(server: HTTPServer, event: dict[str, object], secret: str) -> int:
    body = json.dumps(event)
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("event-1", now, body)
    headers = {
        "webhook-id": "event-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    address = f"http://127.0.0.1:{server.server_port}/"
    return httpx.post(address, content=body, headers=headers, trust_env=False).status_code
