"""Outages that are longer than a lease cost no attempt; neither does a changed clock."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from jobs.database import Database, StoreConfig, stores_on
from jobs.db.engine import connect
from jobs.maintenance.grace import GracePeriod
from jobs.model import State
from tests.clock import Clock
from tests.jobs.rows import claim, submit
from worker.process.liveness.lease import Lease

LEASE = 1.5  # seconds
ROUND = 0.1


class Outage:
    """A switch that makes every transaction of a database fail."""

    def __init__(self, database: Database) -> None:
        self.active = False
        sa.event.listen(database.engine, "begin", self._fail_or_pass)

    def _fail_or_pass(self, connection: sa.Connection) -> None:
        if self.active:
            raise OperationalError("begin", {}, Exception("the database is away"))


@pytest.fixture
def timed(database_url: str) -> Iterator[Database]:
    """A database with the clock of this machine and a short lease."""
    opened = stores_on(connect(database_url), StoreConfig(lease_seconds=LEASE))
    yield opened
    opened.close()


def reap_until(stop: threading.Event, database: Database, grace: GracePeriod) -> None:
    while not stop.wait(ROUND):
        with suppress(OperationalError), grace.round():
            database.attempts.reap(grace.is_over)


def test_an_outage_longer_than_the_lease_costs_a_living_worker_no_attempt(timed: Database) -> None:
    submit(timed)
    job = claim(timed)
    outage, stop, grace = Outage(timed), threading.Event(), GracePeriod(LEASE)
    grace.is_over(timed.attempts.present())
    reaper = threading.Thread(target=reap_until, args=(stop, timed, grace))
    reaper.start()
    try:
        with Lease(lambda: timed.attempts.renew(job.id, 1), seconds=LEASE) as lease:
            stop.wait(0.3)  # some rounds before the outage
            outage.active = True
            stop.wait(LEASE + 0.5)
            outage.active = False
            stop.wait(LEASE)

            assert not lease.lost.is_set()
            assert timed.attempts.succeed(job.id, 1, [])
    finally:
        stop.set()
        reaper.join()

    ended = timed.jobs.get(job.id)
    assert (ended.state, ended.attempt) == (State.SUCCEEDED, 1)


def test_the_job_of_a_worker_that_died_in_an_outage_is_requeued_after_the_grace_period(
    timed: Database,
) -> None:
    submit(timed)
    job = claim(timed)
    stop, grace = threading.Event(), GracePeriod(LEASE)
    reaper = threading.Thread(target=reap_until, args=(stop, timed, grace))
    reaper.start()
    deadline = time.monotonic() + 20
    try:
        while timed.jobs.get(job.id).state is State.RUNNING and time.monotonic() < deadline:
            stop.wait(ROUND)
    finally:
        stop.set()
        reaper.join()

    assert timed.jobs.get(job.id).state is State.QUEUED


class Rounds:
    """Maintenance rounds with manual clocks."""

    def __init__(self) -> None:
        self.wall, self.monotonic = Clock(), 100.0
        self.grace = GracePeriod(15.0, monotonic=lambda: self.monotonic)

    def round(self, *, after: float = 3.0, waits: float = 0.0, jump: float = 0.0) -> bool:
        self.monotonic += after
        self.wall.advance(after + jump)
        with self.grace.round():
            self.monotonic += waits
            self.wall.advance(waits)
            return self.grace.is_over(self.wall())


def test_a_new_process_waits_for_one_lease() -> None:
    rounds = Rounds()

    assert [rounds.round() for _ in range(6)] == [False] * 5 + [True]


@pytest.mark.parametrize("sign", [{"waits": 4.0}, {"jump": 3600.0}, {"jump": -3600.0}])
def test_a_slow_round_and_a_changed_clock_begin_a_new_period(sign: dict[str, float]) -> None:
    rounds = Rounds()
    while not rounds.round():
        continue

    assert not rounds.round(**sign)

    assert 14 < rounds.grace.remaining_seconds <= 15
    assert [rounds.round() for _ in range(5)] == [False] * 4 + [True]


def test_a_failed_round_begins_a_new_period() -> None:
    rounds = Rounds()
    while not rounds.round():
        continue
    with suppress(OperationalError), rounds.grace.round():
        raise OperationalError("select", {}, Exception("away"))

    assert [rounds.round() for _ in range(6)] == [False] * 5 + [True]
