"""Every error is problem+json with a stable code; request ids, log lines and security headers."""

import logging
import socket
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy

from jobs.database import stores_on
from jobs.queue.pauses import PauseScope, PauseTarget
from jobs.settings import Settings
from jobs.store.job_rows import JobLimits
from jobs.store.jobs import JobStore
from jobs.store.pagination import Page
from tests.api_server import Served, serving
from tests.problems import problem


class BrokenStore(JobStore):
    """A store with a bug."""

    def page(self, *_: object, **__: object) -> Page:
        raise ZeroDivisionError("secret detail")


def test_an_unknown_route_is_a_problem(served: Served) -> None:
    for path in ("/nix", "/jobs/a/b", "/page/nix.js", "/page/%2e%2e/main.py", "/docs/oauth2"):
        assert (
            path.split("/")[1] in problem(served.http.get(path), 404, "route_not_found")["detail"]
        )


def test_a_wrong_method_is_a_problem_with_the_allowed_ones(served: Served) -> None:
    answer = served.http.delete("/jobs")

    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
    problem(served.http.get("/generate"), 405, "method_not_allowed")


def test_an_internal_error_is_an_incident_that_the_log_explains(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings) as served:
        database = served.services.database
        broken = replace(database, jobs=BrokenStore(database.engine, JobLimits()))
        served.app.state.services = replace(served.services, database=broken)

        body = problem(served.http.get("/jobs"), 500, "internal_error")
        problem(served.http.get("/nix"), 404, "route_not_found")  # the server still runs

    logged = next(record for record in caplog.records if record.message == "internal error")
    assert body["incident"] in body["detail"]
    assert logged.incident == body["incident"]
    assert logged.exc_info is not None
    assert "secret detail" not in str(body)


def test_an_unavailable_database_is_not_an_internal_error(settings: Settings) -> None:
    with serving(settings) as served:
        url = "sqlite:////nowhere/at/all/visavis.db"
        broken = stores_on(sqlalchemy.create_engine(url))
        served.app.state.services = replace(served.services, database=broken)

        answer = served.http.get("/jobs/0198")
        ready = served.http.get("/readyz")
        broken.close()

    problem(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "VISAVIS_DATABASE_URL" in problem(ready, 503, "not_ready")["checks"]["database"]


def test_every_response_has_a_request_id_and_security_headers(served: Served) -> None:
    for path in ("/healthz", "/nix", "/"):
        headers = served.http.get(path).headers
        assert len(headers["x-request-id"]) == 32
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_a_valid_request_id_is_kept(served: Served) -> None:
    def returned(given: str) -> str:
        return served.http.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"]

    assert returned("trace-17") == "trace-17"
    assert returned("a b; drop") != "a b; drop"
    assert returned("x" * 65) != "x" * 65


def test_every_request_is_one_log_line_without_its_query(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.middleware.access_log")

    served.http.get("/people", params={"signature": "hush"})

    deadline = time.monotonic() + 5  # the line is written after the response
    while not (
        lines := [each for each in caplog.records if getattr(each, "path", "") == "/people"]
    ):
        time.sleep(0.01)
        assert time.monotonic() < deadline, "no line was written"
    (line,) = lines
    assert (line.method, line.status) == ("GET", 200)
    assert "hush" not in str(line.__dict__)


def test_healthz_needs_no_other_service(served: Served) -> None:
    assert served.http.get("/healthz").json() == {"status": "ok"}


def test_a_service_without_a_broker_is_ready(served: Served) -> None:
    body = served.http.get("/readyz").raise_for_status().json()

    assert body["checks"]["database"] == body["checks"]["storage"] == "ok"
    assert body["checks"]["broker"] == "not set: workers look for jobs themselves"


@pytest.mark.parametrize("missing", ["storage", "people"])
def test_a_root_that_is_away_is_not_made_again(
    served: Served, clip: bytes, tmp_path: Path, missing: str
) -> None:
    settings = served.services.settings
    root = {"storage": served.services.storage.folder, "people": settings.people}[missing]
    mounted = root.rename(tmp_path / "mounted elsewhere")
    try:
        body = problem(served.http.get("/readyz"), 503, "not_ready")
        answer = served.http.post("/generate", files={"audio": clip})
        problem(answer, 503, "storage_unavailable")
        assert not root.exists()
    finally:
        mounted.rename(root)

    assert (
        f"VISAVIS_{'STORAGE_URL' if missing == 'storage' else 'PEOPLE'}"
        in (body["checks"][missing])
    )
    assert served.http.get("/readyz").status_code == 200


def test_paused_claims_are_named_and_do_not_make_the_api_unready(served: Served) -> None:
    pauses, target = served.services.database.pauses, PauseTarget(PauseScope.TENANT, "acme")
    pauses.pause(target)
    body = served.http.get("/readyz").raise_for_status().json()
    pauses.resume(target)

    assert body["checks"]["claims"].startswith("paused: 1 pause; see")
    assert "acme" not in str(body)  # everyone can read it


def test_people_come_with_limits_and_defaults(served: Served) -> None:
    people = served.http.get("/people").json()["people"]

    assert [(each["name"], each["max_seconds"]) for each in people] == [("ada", 1), ("demo", 5)]
    assert people[1]["defaults"]["size"] == "512x512"


def test_an_aborted_upload_does_not_affect_the_server(served: Served) -> None:
    head = "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    with socket.create_connection((served.http.base_url.host, served.http.base_url.port)) as sent:
        sent.sendall(head.encode())

    assert isinstance(served.http.get("/healthz"), httpx.Response)
    assert served.http.get("/healthz").status_code == 200
