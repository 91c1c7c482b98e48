"""Short chaos run in each setup; `make chaos` is the long one."""

import pytest

from tests.chaos.run import SETUPS, Plan, run

pytestmark = [pytest.mark.services, pytest.mark.slow]

FAST_RECOVERY = {  # many kills within a minute
    "VISAVIS_LEASE_SECONDS": "5",
    "VISAVIS_REAPER_SECONDS": "0.5",
    "VISAVIS_WAKE_SECONDS": "1",
}


@pytest.mark.parametrize("setup", SETUPS)
def test_no_job_is_lost_and_none_is_done_twice(setup: str) -> None:
    report = run(
        Plan(
            setup,
            jobs=4,
            kills=3,
            seed=3,
            environment=FAST_RECOVERY,
            pause_seconds=0.5,
            limit_seconds=120,
            broker=setup == "servers",
            new_faults=2,
        )
    )

    assert report.findings == [], "\n".join(report.lines())
    assert report.jobs >= 4
    assert sum(report.states.values()) == report.jobs
    assert report.states["succeeded"] > report.jobs / 4  # some jobs lose all attempts to kills
