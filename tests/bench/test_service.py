"""The load of `python -m bench service` is what it says, and what is found is counted."""

from pathlib import Path

import pytest

from bench.__main__ import parser
from bench.service import Found, Plan, measure, table


@pytest.mark.services
def test_clients_poll_their_jobs_and_recordings_are_taken(tmp_path: Path) -> None:
    plan = Plan(clients=4, submissions=120, seconds=4)

    found = measure(plan, tmp_path)

    assert found.errors == {}
    polls = [name for name in found.seconds if name.startswith("GET /jobs/{id} ")]
    assert polls
    assert found.seconds["POST /generate 202"]
    told = "\n".join(table(plan, found))
    assert "4 clients, 120 recordings a minute, 4 s" in told
    assert "errors: 0" in told


def test_only_what_comes_while_it_is_measured_counts() -> None:
    found = Found()
    found.add("GET /jobs/{id}", 200, 0.1)
    found.counting = True
    found.add("GET /jobs/{id}", 304, 0.2)
    found.add("GET /jobs/{id}", 503, 0.3)

    assert found.seconds == {"GET /jobs/{id} 304": [0.2], "GET /jobs/{id} 503": [0.3]}
    assert found.errors == {"GET /jobs/{id} 503": 1}


def test_the_command_has_the_load_that_is_to_be_borne() -> None:
    asked = parser().parse_args(["service"])

    assert (asked.clients, asked.submissions) == (1000, 200)
