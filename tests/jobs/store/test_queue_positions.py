"""Cached queue positions: queries cost little, and a short queue is always current."""

import threading
from concurrent.futures import ThreadPoolExecutor

from jobs.store.queue_positions import KEPT_TIMES_COST, LONGEST_SECONDS, SHORT, PositionCache

COST = 0.01


class Queue:
    """A queue whose query takes a hundredth of a second of time."""

    def __init__(self, count: int) -> None:
        self.names = [f"job-{number}" for number in range(count)]
        self.now, self.spent, self.queries = 100.0, 0.0, 0

    def query(self) -> dict[str, int]:
        self.queries += 1
        self.spent += COST
        return {name: position for position, name in enumerate(self.names, start=1)}

    def cache(self) -> PositionCache:
        return PositionCache(self.query, clock=lambda: self.now, cost=lambda: self.spent)


def test_positions_in_a_short_queue_are_current() -> None:
    queue = Queue(SHORT - 1)
    positions = queue.cache()

    assert positions.of(["job-7", "nobody"]) == {"job-7": 8}
    del queue.names[0]
    assert positions.of(["job-7", "job-1"]) == {"job-7": 7, "job-1": 1}


def test_positions_in_a_long_queue_are_cached_for_a_while() -> None:
    queue = Queue(SHORT)
    positions = queue.cache()

    for _ in range(9):
        assert positions.of(["job-7"]) == {"job-7": 8}
    del queue.names[0]
    queue.names.append("last")
    queue.now += KEPT_TIMES_COST * COST - 1e-6
    assert positions.of(["job-7"]) == {"job-7": 8}
    assert queue.queries == 1
    queue.now += 2e-6
    assert positions.of(["job-7"]) == {"job-7": 7}


def test_a_query_that_waited_for_the_database_is_not_kept_for_long() -> None:
    queue = Queue(SHORT)
    cost = iter((0.0, 60.0, 60.0, 60.1))
    positions = PositionCache(queue.query, clock=lambda: queue.now, cost=lambda: next(cost))
    positions.of(["job-7"])

    queue.now += LONGEST_SECONDS + 0.001
    positions.of(["job-7"])

    assert queue.queries == 2


def test_a_new_job_is_queried_at_once() -> None:
    queue = Queue(SHORT)
    positions = queue.cache()
    positions.of(["job-7"])

    queue.names.append("new")

    assert positions.of(["new"]) == {"new": SHORT + 1}
    assert queue.queries == 2


def test_of_many_concurrent_callers_one_queries() -> None:
    queue = Queue(SHORT)
    positions = queue.cache()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: positions.of(["job-7"]), range(64)))

    assert answers == [{"job-7": 8}] * 64
    assert queue.queries == 1


def test_a_caller_does_not_wait_while_another_one_refreshes() -> None:
    queue, begun, go_on = Queue(SHORT), threading.Event(), threading.Event()

    def slowly() -> dict[str, int]:
        if queue.queries:  # this is the second one
            begun.set()
            assert go_on.wait(20)
        return queue.query()

    positions = PositionCache(slowly, clock=lambda: queue.now, cost=lambda: queue.spent)
    positions.of(["job-7"])
    queue.now += 1.5 * KEPT_TIMES_COST * COST
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(positions.of, ["job-8"])
        assert begun.wait(20)
        del queue.names[0]

        assert positions.of(["job-7"]) == {"job-7": 8}

        go_on.set()
        assert refreshing.result() == {"job-8": 8}
