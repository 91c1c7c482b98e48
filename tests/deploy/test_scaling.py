"""Scaling of workers by the query of the ScaledObject, with real processes; no cluster."""

import pytest

from tests.deploy.scaling import Plan, faults, run

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.longest]


def test_workers_scale_from_one_to_four_to_none_and_each_job_runs_once() -> None:
    report = run(Plan(burst=4, speed=80))

    assert faults(report) == [], "\n".join(report.lines())
