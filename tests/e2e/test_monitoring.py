"""One trace from request to webhook, and metrics compared with the database, on a real service."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from contracts.stages import STAGES
from jobs.db.engine import connect, reading
from jobs.db.tables import jobs
from jobs.telemetry.metrics import Process, exported_series
from tests.audio_clips import write_clip
from tests.deploy.ports import free_port
from tests.e2e.conftest import Environment, Stack, started
from tests.e2e.trace_receiver import TraceReceiver, receiving_traces
from tests.webhook_receiver import Receiver

pytestmark = [pytest.mark.services, pytest.mark.slow]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "caller=1"}
JOBS = 50
WITH_VIDEO = 2  # of the jobs; the others write only motion, which is quick
CANCELED = 20  # the last ones, while they wait
PRICE = 36.0  # per hour
ENDED = {"succeeded", "failed", "canceled"}

Series = dict[str, dict[tuple[tuple[str, str], ...], float]]


@dataclass(frozen=True)
class Monitored:
    """A running service, with the receiver of its traces and the first port of its metrics."""

    stack: Stack
    traces: TraceReceiver
    port: int

    def scrape(self) -> dict[str, Series]:
        """Return the series of each process, by its kind."""
        found: dict[str, Series] = {}
        for port in (self.port, self.port + 1):
            answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, verify=False)
            series: Series = {}
            for family in text_string_to_metric_families(answer.raise_for_status().text):
                for sample in family.samples:
                    labels = tuple(sorted(sample.labels.items()))
                    series.setdefault(sample.name, {})[labels] = sample.value
            ((labels, _),) = series["visavis_build_info"].items()
            found[dict(labels)["process"]] = series
        return found

    def scrape_until(self, true: Callable[[dict[str, Series]], bool]) -> dict[str, Series]:
        """Scrape once a second until a condition holds: some values follow a moment later."""
        deadline = time.monotonic() + 300
        while not true(found := self.scrape()):
            assert time.monotonic() < deadline, self.stack.log.read_text()[-3000:]
            time.sleep(1)
        return found


@pytest.fixture(scope="module")
def traces() -> Iterator[TraceReceiver]:
    with receiving_traces() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def monitored(
    environment: Environment, traces: TraceReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Monitored]:
    port = free_port()
    settings = {
        "VISAVIS_DATA": str(tmp_path_factory.mktemp("monitored")),
        "VISAVIS_METRICS_PORT": str(port),
        "VISAVIS_TRACES": "otlp",
        "VISAVIS_LOG_FORMAT": "json",
        "VISAVIS_COST_PER_HOUR": str(PRICE),
        "VISAVIS_COST_CURRENCY": "EUR",
        "OTEL_EXPORTER_OTLP_ENDPOINT": traces.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with started({**environment, **settings}, tmp_path_factory.mktemp("logs")) as stack:
        yield Monitored(stack, traces, port)
    assert json_lines(stack)  # those of the shutdown, too


def total(series: Series, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for found, value in series.get(name, {}).items() if wanted <= set(found))


def json_lines(stack: Stack) -> list[dict[str, Any]]:
    """Parse all lines but those of `up` itself."""
    text = stack.log.read_text().splitlines()
    return [json.loads(line) for line in text if not line.startswith(("visavis ", "  "))]


def rows(stack: Stack) -> list[dict[str, Any]]:
    engine = connect(stack.settings.database_url)
    with reading(engine) as connection:
        found = [dict(row) for row in connection.execute(sa.select(jobs)).mappings()]
    engine.dispose()
    return found


def test_one_trace_leads_from_the_request_to_the_last_span_of_the_worker_and_the_webhook(
    monitored: Monitored, receiver: Receiver, clip: Path
) -> None:
    stack = monitored.stack
    answer = stack.http.post(
        "/generate",
        files={"audio": clip.read_bytes()},
        data={"callback_url": receiver.url("/traced")},
        headers=HEADERS,
    )
    job_id = answer.json()["id"]
    stack.until(job_id, lambda job: job["state"] in ENDED, seconds=60)
    stages = [stage.name for stage in STAGES[1:]]
    names = ["POST /generate", "attempt", *(f"stage {name}" for name in stages), "POST"]

    spans = {each.name: each for each in monitored.traces.wait_for(TRACE, *names)}

    request, attempt = spans["POST /generate"], spans["attempt"]
    assert (request.service, request.parent_id) == ("visavis-api", SPAN)
    assert request.attributes["http.response.status_code"] == 202
    assert (attempt.service, attempt.parent_id) == ("visavis-worker", request.span_id)
    assert attempt.attributes["visavis.job"] == job_id
    assert attempt.attributes["visavis.outcome"] == "published"
    for name in stages:
        assert spans[f"stage {name}"].parent_id == attempt.span_id
    assert (spans["POST"].service, spans["POST"].parent_id) == ("visavis-api", request.span_id)
    assert stack.stored(job_id).trace == {
        "traceparent": f"00-{TRACE}-{request.span_id}-01",
        "tracestate": "caller=1",
    }
    (webhook,) = receiver.wait_for(1, path="/traced")
    assert webhook.headers["traceparent"] == f"00-{TRACE}-{spans['POST'].span_id}-01"


def test_metrics_of_both_processes_agree_with_the_database_after_fifty_jobs(
    monitored: Monitored, tmp_path: Path
) -> None:
    stack = monitored.stack
    clip = write_clip(tmp_path / "talk.wav", seconds=0.5)
    before = monitored.scrape()
    submitted = _submit_jobs(stack, clip)
    batch = stack.job(submitted[0])["batch"]
    monitored.scrape_until(lambda _: stack.http.get(f"/batches/{batch}").json()["ended"])
    monitored.scrape_until(lambda now: total(now["worker"], "visavis_worker_busy") == 0)
    done = {row["id"]: row for row in rows(stack) if row["id"] in submitted}
    all_states = Counter(row["state"] for row in rows(stack))
    after = monitored.scrape_until(
        lambda now: (
            {state: total(now["api"], "visavis_jobs", state=state) for state in all_states}
            == all_states
        )
    )

    def added(process: str, name: str, **labels: str) -> float:
        return total(after[process], name, **labels) - total(before[process], name, **labels)

    def finished(state: str) -> float:
        name = "visavis_jobs_finished_total"
        return sum(added(process, name, state=state) for process in after)

    states = Counter(row["state"] for row in done.values())
    assert len(done) == states.total() == JOBS
    assert states == {"succeeded": JOBS - CANCELED, "canceled": CANCELED}
    for state in ENDED:
        assert finished(state) == states[state], state
    assert total(after["api"], "visavis_jobs") == all_states.total()
    assert total(after["api"], "visavis_queue_oldest_seconds") == 0
    assert added("api", "visavis_jobs_submitted_total", person="demo") == JOBS

    attempts = sum(row["attempt"] for row in done.values())
    assert added("worker", "visavis_attempts_total") == attempts
    assert added("worker", "visavis_attempts_total", outcome="published") == states["succeeded"]
    succeeded = [row for row in done.values() if row["state"] == "succeeded"]
    audio = sum(row["clip_seconds"] for row in succeeded)
    assert added("worker", "visavis_audio_seconds_total") == pytest.approx(audio)
    for stage in STAGES[1:]:
        seen = added("worker", "visavis_stage_seconds_count", stage=stage.name)
        assert seen == len(succeeded), stage.name
    frames = sum(round(30 * row["clip_seconds"]) for row in succeeded[:WITH_VIDEO])
    assert added("worker", "visavis_frames_total") == frames
    assert added("worker", "visavis_queue_seconds_count") == attempts
    assert total(after["worker"], "visavis_worker_busy") == 0

    used = sum(row["device_seconds"] for row in done.values())
    assert added("worker", "visavis_device_seconds_total", device="cpu") == pytest.approx(
        used, rel=0.2, abs=0.02 * JOBS
    )
    for row in succeeded:
        assert row["cost"] == pytest.approx(row["device_seconds"] * PRICE / 3600)
    view = stack.job(succeeded[0]["id"])["usage"]
    assert (view["device"], view["currency"]) == ("cpu", "EUR")
    assert view["device_seconds"] > 0
    for process, series in after.items():
        assert set(series) <= exported_series(Process(process))


def _submit_jobs(stack: Stack, clip: Path) -> list[str]:
    """Submit jobs in batches of one uploaded clip, and cancel some of them that wait."""
    content = clip.read_bytes()
    upload = stack.http.post("/uploads", json={"bytes": len(content)}).json()
    for part in upload["parts"]:
        stack.http.put(part["url"], content=content).raise_for_status()
    stack.http.post(f"/uploads/{upload['id']}/complete").raise_for_status()
    outputs = [["video"]] * WITH_VIDEO + [["motion"]] * (JOBS - WITH_VIDEO)
    items = [{"upload_id": upload["id"], "outputs": each} for each in outputs]
    batch = stack.http.post("/batches", json={"items": items})
    assert batch.status_code == 202, batch.text
    ids = [item["job"] for item in batch.json()["items"]]
    for job_id in reversed(ids[-CANCELED:]):
        assert stack.http.post(f"/jobs/{job_id}/cancel").status_code == 200
    return ids


def test_every_line_of_the_log_is_json_and_lines_of_a_job_have_its_ids(
    monitored: Monitored,
) -> None:
    lines = json_lines(monitored.stack)

    assert not any("color_message" in line for line in lines)
    of_attempts = [line for line in lines if "attempt" in line and line["logger"] != "api"]
    assert {"job begins", "job ends", "job ended"} <= {line["event"] for line in of_attempts}
    for line in of_attempts:
        if line["event"] in ("job begins", "job ends"):
            assert {"job", "tenant", "person", "worker", "trace_id", "span_id"} <= set(line), line
    access = [line for line in lines if line["event"] == "request" and line["method"] == "POST"]
    assert any(line.get("job") and line["tenant"] == "local" for line in access)
    assert any(line.get("trace_id") == TRACE for line in access)
