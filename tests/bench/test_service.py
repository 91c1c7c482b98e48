"""`python -m bench service` makes the planned load and counts the responses."""

from pathlib import Path

import pytest

from bench.__main__ import parser
from bench.performance.service import Measurements, Plan, measure, table


@pytest.mark.services
def test_clients_poll_their_jobs_and_clips_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.performance.service.WARM_SECONDS", 2.0)
    plan = Plan(clients=4, submissions=120, seconds=4)

    measurements = measure(plan, tmp_path)

    assert measurements.errors == {}
    polls = [name for name in measurements.seconds if name.startswith("GET /jobs/{id} ")]
    assert polls
    assert measurements.seconds["POST /generate 202"]
    report = "\n".join(table(plan, measurements))
    assert "4 clients, 120 clips per minute, 4 s" in report
    assert "errors: 0" in report


def test_only_responses_during_the_measurement_count() -> None:
    measurements = Measurements()
    measurements.add("GET /jobs/{id}", 200, 0.1)
    measurements.counting = True
    measurements.add("GET /jobs/{id}", 304, 0.2)
    measurements.add("GET /jobs/{id}", 503, 0.3)

    assert measurements.seconds == {"GET /jobs/{id} 304": [0.2], "GET /jobs/{id} 503": [0.3]}
    assert measurements.errors == {"GET /jobs/{id} 503": 1}


def test_the_default_load_is_the_documented_one() -> None:
    arguments = parser().parse_args(["service"])

    assert (arguments.clients, arguments.submissions) == (1000, 200)
