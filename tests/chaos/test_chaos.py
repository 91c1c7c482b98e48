"""A short piece of chaos in each set-up; `make chaos` is the long one."""

import pytest

from tests.chaos.run import SETUPS, Plan, run

pytestmark = [pytest.mark.services, pytest.mark.slow]

SOON = {  # so that a minute is enough for many kills
    "VISAVIS_LEASE_SECONDS": "5",
    "VISAVIS_REAPER_SECONDS": "0.5",
    "VISAVIS_WAKE_SECONDS": "1",
}


@pytest.mark.parametrize("setup", SETUPS)
def test_nothing_is_lost_and_nothing_is_done_twice(setup: str) -> None:
    report = run(Plan(setup, jobs=8, kills=5, seed=3, environment=SOON, pause_seconds=0.5))

    assert report.findings == [], "\n".join(report.lines())
    assert report.jobs >= 8
    assert sum(report.states.values()) == report.jobs
    assert report.states["succeeded"] > report.jobs / 4  # what is left to kills and bad luck
