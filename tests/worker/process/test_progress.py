"""Progress is written a few times a second, and says when to stop."""

import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from worker.process.outcomes import LeaseLost, ShutdownRequested
from worker.process.progress import Reporter, StopRequest


class Row:
    """What is written of a job."""

    def __init__(self) -> None:
        self.written: list[tuple[str, float]] = []
        self.held = True
        self.seconds = 0.0
        self.lost = threading.Event()
        self.leave = StopRequest()

    def write(self, stage: str, fraction: float) -> bool:
        self.written.append((stage, fraction))
        return self.held

    def reporter(self) -> Reporter:
        return Reporter(self.write, lost=self.lost, leave=self.leave, now=lambda: self.seconds)


def test_a_stage_is_written_when_it_begins_and_then_three_times_a_second() -> None:
    row = Row()
    report = row.reporter()
    for step in range(101):
        row.seconds = 10 + step / 100
        report("face", step / 100)
    report("body", 0.0)

    assert [stage for stage, _ in row.written] == ["face"] * 4 + ["body"]


def test_a_refused_write_ends_the_work() -> None:
    row = Row()
    row.held = False

    with pytest.raises(LeaseLost, match="taken away during face"):
        row.reporter()("face", 0.5)


def test_a_lost_lease_ends_the_work_at_its_next_step_and_writes_nothing() -> None:
    row = Row()
    row.lost.set()

    with pytest.raises(LeaseLost):
        row.reporter()("face", 0.5)

    assert row.written == []


def test_a_worker_that_should_leave_ends_the_work_at_its_next_step() -> None:
    row = Row()
    row.leave.ask()

    with pytest.raises(ShutdownRequested):
        row.reporter()("face", 0.5)


def test_a_database_that_is_away_does_not_end_the_work() -> None:
    tried: list[str] = []

    def write(stage: str, fraction: float) -> bool:
        tried.append(stage)
        raise OperationalError("update jobs", {}, Exception("away"))

    Reporter(write, lost=threading.Event(), leave=StopRequest())("face", 0.5)

    assert tried == ["face"]


def test_a_pause_ends_early_when_the_worker_should_leave() -> None:
    leave = StopRequest()
    threading.Timer(0.05, leave.ask).start()
    began = time.monotonic()

    leave.pause(30)

    assert time.monotonic() - began < 5
