"""The lease is renewed while the work goes on, and its loss is detected in time."""

import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from worker.process.liveness.lease import Lease

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


def test_a_database_outage_of_any_length_keeps_the_lease() -> None:
    tries: list[float] = []
    renewed = threading.Event()

    def renew() -> bool:
        tries.append(time.monotonic())
        if tries[-1] - tries[0] < 4 * SHORT:
            return outage()
        renewed.set()
        return True

    with Lease(renew, seconds=SHORT) as lease:
        assert renewed.wait(5)
        assert not lease.lost.is_set()

    assert len(tries) > 4  # after a failure it waits less than a third of the lease


def test_a_lease_is_not_renewed_after_the_work() -> None:
    renewed: list[int] = []
    with Lease(lambda: bool(renewed.append(1)) or True, seconds=SHORT):
        pass
    count = len(renewed)

    time.sleep(SHORT)

    assert len(renewed) == count
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]
