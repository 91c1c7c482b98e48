"""Short chaos run in each setup; `make chaos` is the long one."""

import pytest

from tests.chaos.run import SETUPS, Plan, run

pytestmark = [pytest.mark.services, pytest.mark.slow]

FAST_RECOVERY = {  # many kills within a minute
    "VISAVIS_LEASE_SECONDS": "5",
    "VISAVIS_REAPER_SECONDS": "0.5",
    "VISAVIS_WAKE_SECONDS": "1",
}

# Killed in total: workers, an API, Redis. Other faults: storage, disk, scratch, wake-ups, database.
SEEDS = {"embedded": 25, "servers": 47}


@pytest.mark.parametrize("setup", SETUPS)
def test_no_job_is_lost_and_none_is_done_twice(setup: str) -> None:
    report = run(
        Plan(
            setup,
            jobs=3,
            kills=2,
            seed=SEEDS[setup],
            environment=FAST_RECOVERY,
            pause_seconds=0.5,
            limit_seconds=120,
            broker=setup == "servers",
            workers=2 if setup == "servers" else 1,
            apis=1,
            submit_pause_seconds=1.0,
            new_faults=1,
            forked=True,
        )
    )

    assert report.findings == [], "\n".join(report.lines())
    assert report.jobs >= 3
    assert sum(report.states.values()) == report.jobs
    assert report.states["succeeded"] > report.jobs / 4  # some jobs lose all attempts to kills
