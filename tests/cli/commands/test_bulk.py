"""The command `bulk`: refusals, shares, tables and exit statuses; workers run in this process."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from jobs.settings import Settings
from tests.audio_clips import write_clip
from tests.cli.conftest import Call
from worker.bulk.item_worker import ItemWorker
from worker.bulk.manifest import Item
from worker.bulk.pool import Ended
from worker.bulk.results import Attempts


@dataclass
class OwnProcess:
    """A pool whose only worker is the process of the test."""

    settings: Settings
    place: str
    slots: int = 1
    ends: list[Ended] = field(default_factory=list)

    def start(self) -> None:
        self.worker = ItemWorker(self.settings, self.place)

    def submit(self, slot: int, item: Item, attempts: Attempts) -> None:
        self.ends.append(Ended(slot, self.worker.run(item, attempts)))

    def wait(self, seconds: float) -> list[Ended]:
        ends, self.ends = self.ends, []
        return ends

    def close(self) -> None:
        """Do nothing: no process was started."""


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cli.commands.bulk._pool", lambda options, settings, place: OwnProcess(settings, place)
    )


@pytest.fixture
def bulk(call: Call, people: Path, tmp_path: Path) -> Iterator[Any]:
    def run(*arguments: str, **environment: str) -> Any:
        options = ["--out", "results", "--outputs", "motion"]
        return call("bulk", *arguments, *options, VISAVIS_PEOPLE=str(people), **environment)

    return run


def table(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_damaged_recording_is_refused_and_the_others_are_made(bulk: Any, tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    for name in ("a", "c"):
        write_clip(tmp_path / "calls" / f"{name}.wav", seconds=0.2)
    (tmp_path / "calls" / "b.wav").write_bytes(b"no audio")

    done = bulk("calls/*.wav")
    again = bulk("calls/*.wav", "--table", "parquet")

    assert done.exit_code == again.exit_code == 3
    assert "3 of 3 items in results: 2 made, 1 refused" in done.stdout
    assert "3 of 3 items in results: 2 kept, 1 refused" in again.stdout
    assert "warning: b.wav: refused: " in done.stderr
    rows = table(tmp_path / "results")
    assert [(row["item"], row["state"]) for row in rows] == [
        ("a.wav", "succeeded"), ("b.wav", "refused"), ("c.wav", "succeeded"),
    ]  # fmt: skip
    assert rows[1]["error"]["code"].startswith("audio_")
    assert (tmp_path / "results" / rows[0]["outputs"][0]["path"]).is_file()
    parquet = pyarrow.parquet.read_table(tmp_path / "results" / "results.parquet").to_pylist()
    assert [(row["digest"], row["outputs"]) for row in parquet] == [
        (row["digest"], row["outputs"]) for row in rows
    ]


def test_shares_make_one_table(bulk: Any, tmp_path: Path) -> None:
    rows = []
    for number in range(3):
        write_clip(tmp_path / f"{number}.wav", seconds=0.2)
        rows.append(json.dumps({"audio": f"{number}.wav", "item": f"item {number}"}))
    (tmp_path / "items.jsonl").write_text("\n".join(rows))

    for index in ("1", "0"):
        assert not (tmp_path / "results" / "results.jsonl").exists()
        share = {"JOB_COMPLETION_INDEX": index, "JOB_COMPLETION_COUNT": "2"}
        done = bulk("items.jsonl", "--engine", "k8s", **share)
        assert done.exit_code == 0, done.output

    found = table(tmp_path / "results")
    assert [row["item"] for row in found] == ["item 0", "item 1", "item 2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["items.jsonl"], "line 1: sede: unknown field; did you mean 'seed'?\nline 2: seed:"),
        (["none.jsonl"], "no manifest at none.jsonl"),
        (["items.jsonl", "--engine", "slurm"], "--engine: unknown engine 'slurm'"),
        (["items.jsonl", "--engine", "k8s"], "JOB_COMPLETION_INDEX: invalid value ''"),
        (["items.jsonl", "--table", "csv"], "--table: unknown format 'csv'"),
        (["other.jsonl"], "line 1: person: unknown person 'nobody'; available: demo"),
    ],
)
def test_mistakes_are_refused_before_any_work(
    bulk: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    lines = '{"audio": "a.wav", "sede": 1}\n{"audio": "a.wav", "seed": -1}\n'
    (tmp_path / "items.jsonl").write_text(lines)
    (tmp_path / "other.jsonl").write_text('{"audio": "a.wav", "person": "nobody"}')

    done = bulk(*arguments)

    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(message)
    assert not (tmp_path / "results").exists()
