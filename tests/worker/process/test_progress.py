"""Progress is written a few times a second, and stops the attempt."""

import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from worker.process.outcomes import LeaseLost, ShutdownRequested
from worker.process.progress import Reporter, StopRequest


class Row:
    """The progress of a job's row, and the signals that stop the attempt."""

    def __init__(self) -> None:
        self.written: list[tuple[str, float]] = []
        self.held = True
        self.seconds = 0.0
        self.lost = threading.Event()
        self.stop = StopRequest()

    def write(self, stage: str, fraction: float) -> bool:
        self.written.append((stage, fraction))
        return self.held

    def reporter(self) -> Reporter:
        return Reporter(self.write, lost=self.lost, stop=self.stop, now=lambda: self.seconds)


def test_a_stage_is_written_at_its_start_and_then_three_times_a_second() -> None:
    row = Row()
    report = row.reporter()
    for step in range(101):
        row.seconds = 10 + step / 100
        report("face", step / 100)
    report("body", 0.0)

    assert [stage for stage, _ in row.written] == ["face"] * 4 + ["body"]


def test_a_rejected_write_ends_the_attempt() -> None:
    row = Row()
    row.held = False

    with pytest.raises(LeaseLost, match="claimed by another worker during face"):
        row.reporter()("face", 0.5)


def test_a_lost_lease_ends_the_attempt_at_its_next_step_without_a_write() -> None:
    row = Row()
    row.lost.set()

    with pytest.raises(LeaseLost):
        row.reporter()("face", 0.5)

    assert row.written == []


def test_a_shutdown_ends_the_attempt_at_its_next_step() -> None:
    row = Row()
    row.stop.request()

    with pytest.raises(ShutdownRequested):
        row.reporter()("face", 0.5)


def test_a_database_outage_does_not_end_the_attempt() -> None:
    tried: list[str] = []

    def write(stage: str, fraction: float) -> bool:
        tried.append(stage)
        raise OperationalError("update jobs", {}, Exception("away"))

    Reporter(write, lost=threading.Event(), stop=StopRequest())("face", 0.5)

    assert tried == ["face"]


def test_a_pause_ends_early_at_a_shutdown() -> None:
    stop = StopRequest()
    threading.Timer(0.05, stop.request).start()
    began = time.monotonic()

    stop.pause(30)

    assert time.monotonic() - began < 5
