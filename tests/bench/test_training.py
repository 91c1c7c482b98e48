"""Both loops compute the same losses; no time is asserted."""

import json
from collections.abc import Iterator

import pytest
import torch

from bench.__main__ import parser
from bench.timing import Report, as_json
from bench.training import PARTS, FeatureExtractor, Plan, Row, measure, table
from models.motion.speech import SAMPLES_PER_FRAME
from tests.bench.sizes import TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def report() -> Iterator[Report[Row]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield measure(TINY, list(PARTS), Plan(frames=60, batch=2, our_steps=1), device=CPU)
    torch.set_num_threads(threads)


def test_every_part_has_its_row_and_agrees(report: Report[Row]) -> None:
    assert [row.part for row in report.rows] == ["face", "body"]
    assert all(row.agrees for row in report.rows)
    assert all(row.loss == pytest.approx(row.plain_loss, rel=1e-5) for row in report.rows)


def test_the_figures_are_written_as_a_table_and_as_json(report: Report[Row]) -> None:
    assert "face   2 x 60 frames" in table(report)
    rows = json.loads(as_json(report))["rows"]
    assert [row["part"] for row in rows] == ["face", "body"]
    assert rows[0]["times"] == rows[0]["plain"]["cpu"] / rows[0]["ours"]["cpu"]


def test_the_plain_loop_computes_features_twice_per_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = []

    def record(extractor: FeatureExtractor, audio: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(audio.shape))
        return extractor.speech(audio)

    monkeypatch.setattr(FeatureExtractor, "for_body", record)
    plan = Plan(frames=60, batch=1, plain_steps=1, our_steps=1)
    measure(TINY, ["body"], plan, device=CPU)
    once, first, measured = 1, 2, 2
    assert shapes == [(1, 60 * SAMPLES_PER_FRAME, 2)] * (once + first + measured)


def test_windows_of_unsupported_length_are_rejected() -> None:
    with pytest.raises(ValueError, match="frames must be 60 to 600, got 601"):
        Plan(frames=601)


def test_training_has_a_command() -> None:
    arguments = parser().parse_args(["training", "--part", "body", "--frames", "120"])
    assert (arguments.part, arguments.frames, arguments.batch) == (["body"], 120, 1)
