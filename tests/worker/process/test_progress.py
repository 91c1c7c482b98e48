"""Progress is written a few times a second, and stops the attempt."""

import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from contracts.stages import overall_progress
from worker.process.outcomes import LeaseLost, ShutdownRequested
from worker.process.progress import Reporter, StopRequest


class Row:
    """The progress of a job's row, and the signals that stop the attempt."""

    def __init__(self) -> None:
        self.written: list[tuple[str, float]] = []
        self.overall: list[float] = []
        self.held = True
        self.seconds = 0.0
        self.lost = threading.Event()
        self.stop = StopRequest()

    def write(
        self, stage: str, fraction: float, seconds_left: float | None, overall: float
    ) -> bool:
        self.written.append((stage, fraction))
        self.overall.append(overall)
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


def test_stages_that_overlap_never_move_the_progress_back() -> None:
    row = Row()
    report = row.reporter()
    windows = [(name, share) for share in (0.25, 0.5, 1.0) for name in ("speech", "face", "render")]
    for stage, share in windows:
        row.seconds += 1
        report(stage, share / 2 if stage == "render" else share)

    assert row.written[2:] == [("render", 0.125)] + [("render", 0.125)] * 2 + [("render", 0.25)] + [
        ("render", 0.25)
    ] * 2 + [("render", 0.5)]
    assert row.overall == sorted(row.overall)
    assert row.overall[2] < 0.5  # the face is at a quarter


def test_stages_without_reports_were_skipped() -> None:
    row = Row()
    report = row.reporter()
    report("decode", 1.0)
    report("render", 0.0)

    assert row.overall[-1] == pytest.approx(overall_progress("render", 0.0))


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


def test_a_job_may_end_during_the_drain_of_its_worker() -> None:
    row = Row()
    row.stop = StopRequest(60, now=lambda: row.seconds)
    row.stop.request()
    row.seconds = 59.0

    row.reporter()("face", 0.5)

    assert row.stop.requested  # no other job is claimed
    row.seconds = 60.0
    with pytest.raises(ShutdownRequested):
        row.reporter()("face", 0.6)


def test_a_second_signal_ends_the_drain() -> None:
    row = Row()
    row.stop = StopRequest(60)
    row.stop.request()
    row.reporter()("face", 0.5)

    row.stop.request()

    with pytest.raises(ShutdownRequested):
        row.reporter()("face", 0.6)


def test_a_draining_worker_waits_for_the_storage_but_not_for_its_next_claim() -> None:
    seconds = iter(range(100))
    stop = StopRequest(4, now=lambda: float(next(seconds)))
    stop.request()

    stop.pause(30)
    assert next(seconds) == 1  # the pause of the claim loop ended at once

    stop.pause(30, in_attempt=True)
    assert next(seconds) > 4  # the pause of the attempt ended with the drain


def test_a_database_outage_does_not_end_the_attempt() -> None:
    tried: list[str] = []

    def write(stage: str, fraction: float, seconds_left: float | None, overall: float) -> bool:
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
