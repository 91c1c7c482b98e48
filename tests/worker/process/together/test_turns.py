"""Jobs of one worker take turns in the order in which they came."""

import threading

import pytest

from worker.process.together.turns import Turns


class Canceled(Exception):
    pass


def nothing() -> None:
    pass


def test_the_first_turn_begins_at_once_and_reports_nothing() -> None:
    reports: list[int] = []
    with Turns().turn(lambda: reports.append(1)):
        pass
    assert reports == []


def test_turns_are_in_the_order_of_arrival_and_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.process.together.turns.WAIT_SECONDS", 0.01)
    turns, order = Turns(), list[int]()
    threads: list[threading.Thread] = []

    def work(number: int, arrived: threading.Event) -> None:
        with turns.turn(arrived.set):
            order.append(number)

    with turns.turn(nothing):
        for number in range(4):
            arrived = threading.Event()
            threads.append(threading.Thread(target=work, args=(number, arrived)))
            threads[-1].start()
            assert arrived.wait(60)
        assert order == []
    for thread in threads:
        thread.join(60)
    assert order == [0, 1, 2, 3]


def test_a_job_that_is_canceled_while_it_waits_leaves_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.process.together.turns.WAIT_SECONDS", 0.01)
    turns = Turns()

    def cancel() -> None:
        raise Canceled

    with turns.turn(nothing), pytest.raises(Canceled), turns.turn(cancel):
        pytest.fail("it is not its turn")
    with turns.turn(cancel):
        pass


def test_an_error_in_a_turn_ends_it() -> None:
    turns = Turns()
    with pytest.raises(Canceled), turns.turn(nothing):
        raise Canceled
    with turns.turn(nothing):
        pass
