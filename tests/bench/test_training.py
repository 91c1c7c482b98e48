"""The two loops that are compared find the same losses; no time is asserted."""

import json
from collections.abc import Iterator

import pytest
import torch

from bench.__main__ import parser
from bench.training import PARTS, FeatureExtractor, Plan, Report, as_json, measure, table
from models.motion.speech import SAMPLES_PER_FRAME
from tests.bench.sizes import TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield measure(TINY, list(PARTS), Plan(frames=60, batch=2, our_steps=1), device=CPU)
    torch.set_num_threads(threads)


def test_every_part_has_its_row_and_agrees(report: Report) -> None:
    assert [row.part for row in report.rows] == ["face", "body"]
    assert all(row.agrees for row in report.rows)
    assert all(row.loss == pytest.approx(row.plain_loss, rel=1e-5) for row in report.rows)


def test_the_figures_are_told_to_people_and_to_programs(report: Report) -> None:
    assert "face   2 x 60 frames" in table(report)
    rows = json.loads(as_json(report))["rows"]
    assert [row["part"] for row in rows] == ["face", "body"]
    assert rows[0]["times"] == rows[0]["plain"]["cpu"] / rows[0]["ours"]["cpu"]


def test_the_plain_loop_hears_twice_in_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def hearing(ears: FeatureExtractor, sound: torch.Tensor) -> torch.Tensor:
        heard.append(tuple(sound.shape))
        return ears.speech(sound)

    monkeypatch.setattr(FeatureExtractor, "for_body", hearing)
    plan = Plan(frames=60, batch=1, plain_steps=1, our_steps=1)
    measure(TINY, ["body"], plan, device=CPU)
    once, first, measured = 1, 2, 2
    assert heard == [(1, 60 * SAMPLES_PER_FRAME, 2)] * (once + first + measured)


def test_windows_that_no_network_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="frames must be 60 to 600, got 601"):
        Plan(frames=601)


def test_the_command_names_it() -> None:
    arguments = parser().parse_args(["training", "--part", "body", "--frames", "120"])
    assert (arguments.part, arguments.frames, arguments.batch) == (["body"], 120, 1)
