"""The benchmark of estimates, on jobs that are played from memory."""

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.latency import time_left
from bench.latency.time_left import Watched


def test_early_estimates_do_not_count_and_later_ones_may_be_off_by_two_fifths() -> None:
    watched = Watched(seconds=30.0)
    watched.estimates = [(2.0, 900.0), (10.0, 28.0), (20.0, 6.0), (25.0, 5.1), (28.0, 2.9)]

    assert watched.within == 0.75
    assert Watched(seconds=5.0, estimates=[(2.0, 9.0)]).within == 1.0


def job(state: str, body: float, left: float | None, *outputs: str) -> dict[str, Any]:
    return {
        "id": "a",
        "state": state,
        "stages": [{"name": "body", "progress": body}],
        "seconds_left": left,
        "outputs": [{"name": name} for name in outputs],
        "error": None,
    }


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Answer requests with these jobs, 8 s apart."""

    def played(*jobs: dict[str, Any]) -> None:
        answers, clock = iter(jobs), itertools.count(100, 8)
        monkeypatch.setattr(time_left, "_json", lambda request: next(answers))
        monkeypatch.setattr(time_left, "now", lambda: float(next(clock)))
        monkeypatch.setattr(time_left, "pause", lambda seconds: None)

    return played


def test_a_job_is_watched_from_its_start_to_its_end(
    play: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    play(
        job("queued", 0.0, None),
        job("running", 0.5, 24.0),
        job("running", 1.0, 70.0),
        job("running", 1.0, 8.0, "preview-1.mp4"),
        job("succeeded", 1.0, None, "take-1.mp4", "preview-1.mp4"),
    )

    time_left.run(
        argparse.Namespace(
            clip=tmp_path / "a.wav", url="http://h", jobs=1, outputs="preview", json=True
        )
    )

    facts = json.loads(capsys.readouterr().out)
    assert facts.pop("load") >= 0
    assert facts == {"seconds": 24.0, "estimates": 1, "within": 1.0, "preview_seconds": 8.0}


def test_a_failed_job_is_an_error(play: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    play(job("failed", 0.0, None))

    with pytest.raises(RuntimeError, match="job a: failed"):
        time_left.watch("http://h", tmp_path / "a.wav", {})
