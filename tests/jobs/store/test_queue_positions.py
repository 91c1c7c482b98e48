"""Looking for places costs little, however many ask; a short queue is always told as it is."""

import threading
from concurrent.futures import ThreadPoolExecutor

from jobs.store.queue_positions import KEPT_TIMES_COST, SHORT, PositionCache

COST = 0.01


class Queue:
    """A queue at which a look costs a hundredth of a second."""

    def __init__(self, count: int) -> None:
        self.names = [f"job-{number}" for number in range(count)]
        self.now, self.spent, self.looks = 100.0, 0.0, 0

    def look(self) -> dict[str, int]:
        self.looks += 1
        self.spent += COST
        return {name: place for place, name in enumerate(self.names, start=1)}

    def told(self) -> PositionCache:
        return PositionCache(self.look, clock=lambda: self.now, cost=lambda: self.spent)


def test_a_short_queue_is_told_as_it_is() -> None:
    queue = Queue(SHORT - 1)
    places = queue.told()

    assert places.of(["job-7", "nobody"]) == {"job-7": 8}
    del queue.names[0]
    assert places.of(["job-7", "job-1"]) == {"job-7": 7, "job-1": 1}


def test_a_look_at_a_long_queue_is_kept_for_a_while() -> None:
    queue = Queue(SHORT)
    places = queue.told()

    for _ in range(9):
        assert places.of(["job-7"]) == {"job-7": 8}
    del queue.names[0]
    queue.names.append("last")
    queue.now += KEPT_TIMES_COST * COST - 1e-6
    assert places.of(["job-7"]) == {"job-7": 8}
    assert queue.looks == 1
    queue.now += 2e-6
    assert places.of(["job-7"]) == {"job-7": 7}


def test_a_job_that_is_new_is_looked_up_at_once() -> None:
    queue = Queue(SHORT)
    places = queue.told()
    places.of(["job-7"])

    queue.names.append("new")

    assert places.of(["new"]) == {"new": SHORT + 1}
    assert queue.looks == 2


def test_of_many_who_ask_at_once_one_looks() -> None:
    queue = Queue(SHORT)
    places = queue.told()

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: places.of(["job-7"]), range(64)))

    assert told == [{"job-7": 8}] * 64
    assert queue.looks == 1


def test_who_asks_while_another_looks_again_does_not_wait() -> None:
    queue, begun, go_on = Queue(SHORT), threading.Event(), threading.Event()

    def slowly() -> dict[str, int]:
        if queue.looks:  # the second look
            begun.set()
            assert go_on.wait(20)
        return queue.look()

    places = PositionCache(slowly, clock=lambda: queue.now, cost=lambda: queue.spent)
    places.of(["job-7"])
    queue.now += 1.5 * KEPT_TIMES_COST * COST
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(places.of, ["job-8"])
        assert begun.wait(20)
        del queue.names[0]

        assert places.of(["job-7"]) == {"job-7": 8}

        go_on.set()
        assert looking.result() == {"job-8": 8}
