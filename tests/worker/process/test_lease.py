"""The lease is renewed while the work goes on, and its loss is detected in time."""

import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from worker.process.lease import Lease

SHORT = 0.15


def wait_until(condition: Callable[[], bool], *, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def outage() -> bool:
    raise OperationalError("update jobs", {}, Exception("no connection"))


def test_a_lease_is_renewed_three_times_per_duration() -> None:
    renewed: list[float] = []

    def renew() -> bool:
        renewed.append(time.monotonic())
        return True

    with Lease(renew, seconds=SHORT) as lease:
        assert wait_until(lambda: len(renewed) >= 6)
        assert not lease.lost.is_set()

    assert renewed[5] - renewed[0] >= 5 * SHORT / 3 * 0.9


def test_a_rejected_renewal_is_a_lost_lease() -> None:
    with Lease(lambda: False, seconds=SHORT) as lease:
        assert lease.lost.wait(5)


def test_a_database_outage_loses_the_lease_only_after_its_end() -> None:
    tries: list[float] = []

    def renew() -> bool:
        tries.append(time.monotonic())
        return outage()

    began = time.monotonic()
    with Lease(renew, seconds=3 * SHORT) as lease:
        assert lease.lost.wait(5)

    assert time.monotonic() - began >= 3 * SHORT
    assert len(tries) > 3  # after a failure it waits less than a third of the lease


def test_a_short_database_outage_keeps_the_lease() -> None:
    results = iter([outage, outage, lambda: True])

    def renew() -> bool:
        return next(results, lambda: True)()

    with Lease(renew, seconds=2 * SHORT) as lease:
        time.sleep(4 * SHORT)
        assert not lease.lost.is_set()


def test_a_lease_is_not_renewed_after_the_work() -> None:
    renewed: list[int] = []
    with Lease(lambda: bool(renewed.append(1)) or True, seconds=SHORT):
        pass
    count = len(renewed)

    time.sleep(SHORT)

    assert len(renewed) == count
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]
