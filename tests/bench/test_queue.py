"""`python -m bench queue` measures every operation; `make queue-rates` has a server for each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.queue import OPERATIONS
from bench.simulation.rates import measured_rates
from tests.bench.queue_rates import SERVERS
from tests.house.source import ROOT


@pytest.mark.services
def test_every_operation_without_a_broker_is_measured(tmp_path: Path) -> None:
    report = tmp_path / "queue-sqlite.json"
    arguments = ["--processes", "2", "--seconds", "0.05", "--json", str(report)]

    done = subprocess.run(
        [sys.executable, "-m", "bench", "queue", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr
    rates = measured_rates(tmp_path)
    assert {operation for operation, _ in rates} == set(OPERATIONS) - {"wake-ups"}
    assert {server for _, server in rates} == {"sqlite", "file"}
    assert all(rate > 0 for each in rates.values() for rate in each.values())
    assert all(each.keys() == {2} for each in rates.values())
    machine = json.loads(report.read_text())["machine"]
    assert machine["load"] >= 0 and machine["cores"] == os.cpu_count()


def test_each_operation_has_a_server() -> None:
    measured = {operation for operations, _ in SERVERS.values() for operation in operations}

    assert measured == set(OPERATIONS)
