"""Rates of stages: shared in the database, and in a file for commands without one."""

from pathlib import Path

import pytest
import torch
from sqlalchemy.exc import OperationalError

from jobs.database import Database
from worker.time_left.rates import MachineRates, RateFile, RateStore, machine_of


@pytest.fixture(params=["database", "file"])
def store(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> RateStore:
    return {"database": database.stage_rates, "file": RateFile(tmp_path / "data" / "rates.json")}[
        request.param
    ]


def test_rates_are_kept_for_each_person_and_machine(store: RateStore) -> None:
    store.record("ada", "fast", {"face": 0.5, "render/mp4": 2.0})
    store.record("ada", "slow", {"face": 5.0})

    assert store.read("ada", "fast") == {"face": 0.5, "render/mp4": 2.0}
    assert store.read("ada", "slow") == {"face": 5.0}
    assert store.read("bea", "fast") == {}


def test_a_rate_follows_the_latest_jobs(store: RateStore) -> None:
    store.record("ada", "fast", {"face": 1.0, "body": 1.0})
    for _ in range(8):
        store.record("ada", "fast", {"face": 4.0})

    rates = store.read("ada", "fast")
    assert rates["face"] == pytest.approx(4.0, rel=0.02)
    assert rates["body"] == 1.0


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text("{")
    file = RateFile(tmp_path / "rates.json")
    assert file.read("ada", "fast") == {}

    file.record("ada", "fast", {"face": 2.0})

    assert RateFile(tmp_path / "rates.json").read("ada", "fast") == {"face": 2.0}


def test_a_file_that_cannot_be_written_ends_no_command(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    RateFile(tmp_path / "file" / "rates.json").record("ada", "fast", {"face": 2.0})


def test_an_outage_of_the_database_costs_only_the_rates() -> None:
    class Away:
        def read(self, person: str, machine: str) -> dict[str, float]:
            raise OperationalError("select", {}, Exception("away"))

        def record(self, person: str, machine: str, measured: object) -> None:
            raise OperationalError("insert", {}, Exception("away"))

    rates = MachineRates(Away(), "fast")
    rates.learn(["ada"], {"face": 1.0})
    assert rates.of(["ada"]) == {}


def test_a_machine_is_named_by_its_processor_and_threads() -> None:
    name = machine_of(torch.device("cpu"))

    assert name.startswith(f"{torch.get_num_threads()} threads, ")
    assert len(name) <= 128
