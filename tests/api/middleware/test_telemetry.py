"""Metrics, trace headers and access lines of requests to a running API."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import Response

from api import errors
from jobs.settings import Settings
from jobs.telemetry.metrics import Process, exported_series
from tests.api_server import Served, serving, write_person
from tests.deploy.ports import free_port

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("api")
    people = write_person(folder / "people", "demo")
    return Settings(data=folder / "data", people=people, metrics_port=free_port())


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as server:
        yield server


def scrape(settings: Settings) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    answer = httpx.get(
        f"http://127.0.0.1:{settings.metrics_port}/metrics", trust_env=False, verify=False
    )
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.raise_for_status().text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def requests(found: dict[str, Any], route: str, status: str, method: str = "GET") -> float:
    labels = (("method", method), ("route", route), ("status", status))
    return float(found.get("visavis_http_request_seconds_count", {}).get(labels, 0))


def test_requests_are_counted_by_route_template_and_status_class(
    served: Served, settings: Settings
) -> None:
    before = scrape(settings)
    for path in ("/jobs/1", "/jobs/2", "/nowhere", "/people"):
        served.http.get(path)
    served.http.request("BREW", "/people")
    served.http.get("/healthz")  # answered after the others are counted; not counted itself
    after = scrape(settings)

    assert requests(after, "/jobs/{job_id}", "4xx") - requests(before, "/jobs/{job_id}", "4xx") == 2
    assert requests(after, "/people", "2xx") - requests(before, "/people", "2xx") == 1
    assert requests(after, "none", "4xx") - requests(before, "none", "4xx") == 1
    methods = {dict(labels)["method"] for labels in after["visavis_http_request_seconds_count"]}
    assert "_OTHER" in methods
    assert "BREW" not in methods
    assert after["visavis_http_requests_in_flight"] == {(): 0}


def test_the_api_exports_the_declared_series_only(served: Served, settings: Settings) -> None:
    found = scrape(settings)

    assert set(found) <= exported_series(Process.API)
    assert "visavis_worker_busy" not in found
    assert found["visavis_database_up"] == {(): 1}
    ((labels, _),) = found["visavis_build_info"].items()
    assert dict(labels)["process"] == "api"


def test_the_public_port_has_no_metrics(served: Served) -> None:
    assert served.http.get("/metrics").status_code == 404


def test_a_job_has_the_trace_of_its_request_and_the_access_line_names_it(
    served: Served, clip: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.middleware.access_log")
    answer = served.http.post("/generate", files={"audio": clip}, headers=HEADERS)
    job = served.services.database.jobs.get(answer.json()["id"])
    served.http.get("/healthz")  # answered after the line of the first request

    assert job.trace == HEADERS
    (line,) = [each for each in caplog.records if vars(each).get("path") == "/generate"]
    facts = {name: vars(line)[name] for name in ("job", "tenant", "method", "status")}
    assert facts == {"job": job.id, "tenant": "local", "method": "POST", "status": 202}


def test_the_line_of_an_internal_error_has_tenant_and_trace(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: dict[str, Any] = {}
    original = errors.internal_error

    def noted(error: Exception) -> Response:
        bound.update(structlog.contextvars.get_contextvars())
        return original(error)

    def fail(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(errors, "internal_error", noted)
    monkeypatch.setattr(served.services.database.jobs, "page", fail)

    assert served.http.get("/jobs", headers=HEADERS).status_code == 500
    assert bound["tenant"] == "local"
    assert bound["trace_id"] == TRACE
    assert bound["request"]


def test_a_second_process_on_the_machine_has_the_next_port(
    served: Served, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jobs.telemetry.prometheus")
    with serving(settings.model_copy(update={"port": 0})):
        (line,) = [each for each in caplog.records if each.message == "metrics"]
        port = vars(line)["port"]
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, verify=False)

    assert port > settings.metrics_port
    assert re.search(r"^visavis_build_info\{", answer.text, re.MULTILINE)


def test_without_a_port_in_the_settings_no_port_is_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jobs.telemetry.prometheus")
    people = write_person(tmp_path / "people", "demo")
    with serving(Settings(data=tmp_path / "data", people=people)) as server:
        assert server.http.get("/healthz").status_code == 200

    assert caplog.records == []
