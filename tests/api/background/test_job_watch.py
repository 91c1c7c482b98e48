"""Job watcher: many waiters share one query, and none of them holds a thread."""

import asyncio
import threading
from collections.abc import Callable, Collection
from functools import partial

import pytest
from sqlalchemy.exc import OperationalError

from api.background import job_watch as module
from api.background.job_watch import JobWatcher, watching
from api.services.conditional import has_changed, has_ended
from jobs.model import JobStatus, State

QUEUED = JobStatus(State.QUEUED, 0, "queued", 0.0, 1)
RUNNING = JobStatus(State.RUNNING, 1, "decode", 0.0, None)
DONE = JobStatus(State.SUCCEEDED, 1, "publish", 1.0, None)


class Table:
    """Job statuses that a test changes; records the queries."""

    def __init__(self, **statuses: JobStatus) -> None:
        self.statuses = statuses
        self.queries: list[set[str]] = []
        self.failures = 0

    def __call__(self, ids: Collection[str]) -> dict[str, JobStatus]:
        self.queries.append(set(ids))
        if self.failures > 0:
            self.failures -= 1
            raise OperationalError("select", {}, Exception("away"))
        return {each: self.statuses[each] for each in ids if each in self.statuses}


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.01)


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.005)


def test_all_waiters_are_woken_by_one_query_at_a_time() -> None:
    async def run() -> None:
        table = Table(**{f"job-{number}": QUEUED for number in range(10)})
        threads = threading.active_count()
        async with watching(table) as watch:
            moved = partial(has_changed, known=(State.QUEUED, 0))
            waiters = [
                asyncio.create_task(watch.until(f"job-{number % 10}", moved, seconds=30))
                for number in range(1000)
            ]
            await until(lambda: len(table.queries) >= 2)
            assert watch.waiting == 1000
            assert threading.active_count() <= threads + 2
            table.statuses = dict.fromkeys(table.statuses, RUNNING)
            assert all(await asyncio.gather(*waiters))
            assert watch.waiting == 0
            seen = len(table.queries)
            await asyncio.sleep(0.1)
            assert len(table.queries) <= seen + 1  # without waiters there are no queries

    asyncio.run(run())


def test_waiting_ends_after_its_timeout() -> None:
    async def run() -> None:
        async with watching(Table(a=QUEUED)) as watch:
            assert not await watch.until("a", has_ended, seconds=0.05)
            assert watch.waiting == 0

    asyncio.run(run())


def test_waiting_for_an_unknown_job_ends_at_once() -> None:
    async def run() -> None:
        async with watching(Table()) as watch:
            assert await watch.until("gone", has_ended, seconds=30)

    asyncio.run(run())


def test_a_waiter_that_joins_during_a_query_waits_for_the_next_one() -> None:
    class SlowTable(Table):
        def __call__(self, ids: Collection[str]) -> dict[str, JobStatus]:
            started.set()
            proceed.wait(5)
            return super().__call__(ids)

    started, proceed = threading.Event(), threading.Event()

    async def run() -> None:
        async with watching(SlowTable(a=QUEUED, b=QUEUED)) as watch:
            first = asyncio.create_task(watch.until("a", has_ended, seconds=0.3))
            await until(started.is_set)
            second = asyncio.create_task(watch.until("b", has_ended, seconds=0.3))
            await until(lambda: watch.waiting == 2)
            proceed.set()
            assert await asyncio.gather(first, second) == [False, False]

    asyncio.run(run())


def test_an_unavailable_database_is_queried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        table = Table(a=DONE)
        table.failures = 3
        async with watching(table) as watch:
            assert await watch.until("a", has_ended, seconds=30)
        assert len(table.queries) == 4

    asyncio.run(run())
    assert any(record.message == "database away" for record in caplog.records)


def test_shutdown_wakes_all_waiters() -> None:
    async def run() -> None:
        async with watching(Table(a=QUEUED)) as watch:
            waiter = asyncio.create_task(watch.until("a", has_ended, seconds=30))
            await until(lambda: watch.waiting == 1)
        assert not await waiter
        assert not await watch.until("a", has_ended, seconds=30)

    asyncio.run(run())


def test_a_canceled_waiter_is_removed() -> None:
    async def run() -> None:
        watch = JobWatcher(Table(a=QUEUED))
        waiter = asyncio.create_task(watch.until("a", has_ended, seconds=30))
        await until(lambda: watch.waiting == 1)
        waiter.cancel()
        await until(lambda: watch.waiting == 0)

    asyncio.run(run())
