"""Stage, rate and time left of jobs and batches."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from visavis import BatchProgress, BatchResult
from visavis.command.bars import Bar, BatchClock, JobClock, Step, duration
from visavis.command.console import Output
from visavis.core.decode import parsed
from visavis.models import JobFields
from visavis.testing import FakeService


def job(service: FakeService, **changes: Any) -> JobFields:
    content = service._new_job({"takes": 2})
    stages = [
        {"name": each["name"], "progress": changes.pop(each["name"], 0.0)}
        for each in content["stages"]
    ]
    return parsed(JobFields, content | {"stages": stages, "clip_seconds": 10.0} | changes)


def test_a_queued_job_has_its_place(service: FakeService) -> None:
    assert JobClock().step(job(service, position=3), {}, 0.0).label == "queued, place 3"


def test_rate_and_time_left_are_those_of_the_stage(service: FakeService) -> None:
    clock = JobClock()
    face = {"state": "running", "stage": "face", "progress": 0.2}

    first = clock.step(job(service, **face, face=0.25), {}, 100.0)
    early = clock.step(job(service, **face, face=0.5), {}, 101.0)
    later = clock.step(job(service, **face, face=0.5), {}, 105.0)
    other = clock.step(job(service, state="running", stage="render", render=0.0), {}, 106.0)
    last = clock.step(job(service, state="running", stage="render", render=0.5), {}, 116.0)

    assert (first.rate, first.left, early.left, other.left) == ("", "", "", "")
    assert later == Step("face", 0.2, "30.0 frames/s", "about 0:10 left in face")  # of 600 frames
    assert (last.rate, last.left) == ("30.0 frames/s", "about 0:10 left")


def test_the_time_left_of_the_service_comes_first(service: FakeService) -> None:
    running = job(service, state="running", stage="face", progress=0.2)

    assert JobClock().step(running, {"seconds_left": 75.4}, 0.0).left == "1:15 left"


def test_the_rate_of_a_batch_leaves_out_earlier_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("visavis.command.bars.time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = BatchClock()

    def ended(count: int, *, resumed: bool) -> Step:
        result = BatchResult(Path("a"), None, "succeeded", "1", resumed=resumed)
        return clock.step(BatchProgress(10, count, 0, Path("a"), None, result))

    for count in range(1, 5):
        assert ended(count, resumed=True).left == ""
    now[0] = 30.0
    ended(5, resumed=False)
    now[0] = 60.0

    step = ended(6, resumed=False)
    assert step == Step("6 of 10", 0.6, "2.0/min", "about 2:00 left")


def output(*, terminal: bool) -> tuple[Output, io.StringIO]:
    made, text = Output(), io.StringIO()
    made.stderr = Console(file=text, force_terminal=terminal, width=100)
    return made, text


def test_a_log_gets_a_line_for_each_stage_and_while_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("visavis.command.bars.SILENT_SECONDS", 0.02)
    monkeypatch.setattr("visavis.command.bars.LOOK_SECONDS", 0.01)
    made, text = output(terminal=False)

    with Bar(made) as bar:
        for fraction in (0.1, 0.2, 0.3):
            bar.show(Step("face", fraction))
        bar.show(Step("body", 0.4))
        while text.getvalue().count("\n") < 3:
            pass

    lines = [line.split() for line in text.getvalue().splitlines()]
    assert lines[0] == ["0:00", "face", "10", "%"]
    assert [line[1] for line in lines[1:3]] == ["body", "body"]


def test_a_terminal_shows_a_bar_with_rate_and_time_left() -> None:
    made, text = output(terminal=True)

    with Bar(made) as bar:
        bar.show(Step("render", 0.62, "12.0 frames/s", "0:35 left"))

    assert all(part in text.getvalue() for part in ("render", "62%", "12.0 frames/s", "0:35 left"))


def test_times_are_short() -> None:
    assert [duration(each) for each in (0, 59.6, 75, 7201)] == ["0:00", "1:00", "1:15", "2:00:01"]
