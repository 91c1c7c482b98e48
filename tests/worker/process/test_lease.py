"""The lease is renewed while the work goes on, and its loss is known in time."""

import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from worker.process.lease import Lease

SHORT = 0.15


def until(true: Callable[[], bool], *, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


def away() -> bool:
    raise OperationalError("update jobs", {}, Exception("the database is away"))


def test_a_lease_is_renewed_three_times_in_its_time() -> None:
    renewed: list[float] = []

    def renew() -> bool:
        renewed.append(time.monotonic())
        return True

    with Lease(renew, seconds=SHORT) as lease:
        assert until(lambda: len(renewed) >= 6)
        assert not lease.lost.is_set()

    assert renewed[5] - renewed[0] >= 5 * SHORT / 3 * 0.9


def test_a_refused_renewal_is_a_lost_lease() -> None:
    with Lease(lambda: False, seconds=SHORT) as lease:
        assert lease.lost.wait(5)


def test_a_database_that_is_away_costs_the_lease_only_when_it_has_ended() -> None:
    tries: list[float] = []

    def renew() -> bool:
        tries.append(time.monotonic())
        return away()

    began = time.monotonic()
    with Lease(renew, seconds=3 * SHORT) as lease:
        assert lease.lost.wait(5)

    assert time.monotonic() - began >= 3 * SHORT
    assert len(tries) > 3  # it does not wait a third of the lease after a failure


def test_a_database_that_comes_back_saves_the_lease() -> None:
    answers = iter([away, away, lambda: True])

    def renew() -> bool:
        return next(answers, lambda: True)()

    with Lease(renew, seconds=2 * SHORT) as lease:
        time.sleep(4 * SHORT)
        assert not lease.lost.is_set()


def test_nothing_is_renewed_after_the_work() -> None:
    renewed: list[int] = []
    with Lease(lambda: bool(renewed.append(1)) or True, seconds=SHORT):
        pass
    count = len(renewed)

    time.sleep(SHORT)

    assert len(renewed) == count
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]
