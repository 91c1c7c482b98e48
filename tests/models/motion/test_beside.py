"""Work beside the caller: order of reports, errors on both sides, and the motion of both halves."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from models.motion.execution.beside import Beside, Stopped, half_of_threads
from models.motion.pipeline import Animator, Sampling
from tests import tiny_person

FEW = Sampling((1,), 3, 1.5, 1.5, 0.9, "dpm-solver")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("mode", [False, True])
def test_work_has_the_inference_mode_of_the_caller(mode: bool) -> None:
    with torch.inference_mode(mode), Beside(lambda _: torch.is_inference_mode_enabled()) as beside:
        assert beside.result(lambda *_: None) is mode


def test_reports_arrive_in_the_thread_of_the_caller_after_its_own_work() -> None:
    seen: list[object] = []

    def work(report) -> int:  # type: ignore[no-untyped-def]
        report("body", 0.5)
        report("body", 1.0)
        return 7

    with Beside(work) as beside:
        seen.append("own")
        result = beside.result(
            lambda stage, share: seen.append((stage, share, threading.current_thread()))
        )
    main = threading.main_thread()
    assert (result, seen) == (7, ["own", ("body", 0.5, main), ("body", 1.0, main)])


def test_an_error_of_the_work_is_raised_where_its_result_is_asked_for() -> None:
    def work(_report: object) -> None:
        raise RuntimeError("no memory")

    with Beside(work) as beside, pytest.raises(RuntimeError, match="no memory"):
        beside.result(lambda *_: None)


def test_an_error_of_the_block_stops_the_work_at_its_next_report() -> None:
    stopped = threading.Event()
    entered = threading.Event()

    def work(report) -> None:  # type: ignore[no-untyped-def]
        entered.set()
        try:
            while True:
                report("body", 0.0)
        except Stopped:
            stopped.set()
            raise

    with pytest.raises(ValueError, match="face"), Beside(work):
        entered.wait()
        raise ValueError("face")
    assert stopped.is_set()


def test_each_half_has_half_of_the_threads(two_threads: None) -> None:
    with half_of_threads():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_motion_of_both_halves_beside_each_other_is_that_of_one_after_the_other(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    animator, audio = tiny_person.tiny_animator(), torch.randn(24_000, 2)
    threads: set[str] = set()
    for network in (animator.networks.face, animator.networks.body):
        network.register_forward_pre_hook(lambda *_: threads.add(threading.current_thread().name))
    reports: list[str] = []

    beside = animator.animate(audio, FEW, progress=lambda stage, _: reports.append(stage))[0]

    assert len(threads) == 2
    assert list(dict.fromkeys(reports)) == ["speech", "face", "guide", "body"]
    torch.set_num_threads(1)
    alone = animator.animate(audio, FEW)[0]
    assert torch.equal(beside.face, alone.face)
    assert torch.equal(beside.pose, alone.pose)


def test_ddim_keeps_all_threads_and_so_its_numbers(two_threads: None) -> None:
    animator = tiny_person.tiny_animator()
    counts: set[int] = set()
    animator.networks.body.register_forward_pre_hook(lambda *_: counts.add(torch.get_num_threads()))
    animator.animate(torch.zeros(9600, 2), replace(FEW, sampler="ddim"))
    assert counts == {2}


@pytest.mark.parametrize("stage", ["face", "guide", "body"])
def test_an_exception_from_progress_ends_both_halves(two_threads: None, stage: str) -> None:
    class Canceled(Exception):
        pass

    def progress(name: str, _: float) -> None:
        if name == stage:
            raise Canceled

    animator: Animator = tiny_person.tiny_animator()
    with pytest.raises(Canceled):
        animator.animate(torch.zeros(9600, 2), FEW, progress=progress)
    assert torch.get_num_threads() == 2
    assert not any(each.name.startswith("beside") for each in threading.enumerate())
