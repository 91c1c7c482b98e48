"""The clock of the database is used by all machines."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from jobs.database import open_database
from jobs.db.clock import QUERY_SECONDS, DatabaseClock, clock_of
from jobs.db.engine import connect
from jobs.db.migrate import upgrade
from jobs.settings import Settings
from tests.jobs.rows import claim, submit


@pytest.mark.services
def test_the_clock_follows_the_server_with_occasional_queries(postgresql_url: str) -> None:
    engine = connect(postgresql_url)
    seconds = [1000.0]
    clock = DatabaseClock(engine, monotonic=lambda: seconds[0])

    first = clock()
    seconds[0] += 7
    assert clock() - first == timedelta(seconds=7)  # by the monotonic clock
    seconds[0] += QUERY_SECONDS
    queried = clock()
    engine.dispose()

    assert abs(queried - datetime.now(UTC)) < timedelta(minutes=5)
    assert queried - first < timedelta(seconds=7 + QUERY_SECONDS)  # by a new query
    assert first.tzinfo is UTC


class _Wrong:
    """A wall clock that is off by `hours`."""

    def __init__(self, hours: float) -> None:
        self.off = timedelta(hours=hours)

    def now(self, zone: object) -> datetime:
        return datetime.now(UTC) + self.off


@pytest.mark.services
def test_a_machine_with_a_wrong_clock_takes_no_job_of_others(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=postgresql_url)
    behind, ahead = open_database(settings), open_database(settings)
    monkeypatch.setattr("jobs.model.datetime", _Wrong(hours=-1))  # the clock of the machine
    upgrade(postgresql_url)
    submit(behind)
    job = claim(behind)
    monkeypatch.setattr("jobs.model.datetime", _Wrong(hours=1))

    ahead.attempts.reap()

    assert ahead.jobs.get(job.id).attempt == job.attempt
    assert behind.attempts.renew(job.id, job.attempt)
    assert behind.jobs.delete(job.id)
    for database in (behind, ahead):
        database.close()


def test_the_clock_of_an_unavailable_database_raises() -> None:
    engine = connect("postgresql://nobody@127.0.0.1:1/none")

    with pytest.raises(OperationalError):
        clock_of(engine)()
    engine.dispose()
