"""Declarations of metrics: conventions of Prometheus, and the table in the documentation."""

import re

import pytest

from jobs.settings import REPOSITORY
from jobs.telemetry.metrics import METRICS, Kind, Metric, Process, exported_series
from tools.metrics import updated


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"(visavis|process)_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert not set(metric.labels) & {"tenant", "job", "key", "instance", "le"}
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", metric.name)


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_the_series_of_a_histogram_are_its_buckets_sum_and_count() -> None:
    series = exported_series(Process.API)

    assert {f"visavis_http_request_seconds_{part}" for part in ("bucket", "sum", "count")} <= series
    assert "visavis_http_request_seconds" not in series
    assert "visavis_worker_busy" not in series


def test_the_documentation_lists_every_metric() -> None:
    text = (REPOSITORY / "docs/monitoring.md").read_text()

    assert updated(text) == text, "run `make docs`"
