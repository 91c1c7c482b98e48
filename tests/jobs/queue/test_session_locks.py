"""PostgreSQL releases the lock of a worker that dies, and others notice that."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa

from jobs.database import Database
from jobs.queue.session_locks import LOOKS, SessionLock, lock_key
from tests.jobs.rows import submit

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

HOLDER = """
import sys, time
from jobs.db.engine import connect
from jobs.queue.session_locks import SessionLock
lock = SessionLock(connect(sys.argv[1]), sys.argv[2])
lock.take()
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def process_of(worker: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a worker."""
    command = [sys.executable, "-c", HOLDER, url, worker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def observer_and_worker(database: Database) -> Iterator[tuple[SessionLock, SessionLock]]:
    """Locks of an observer and of the worker "other", which has a job."""
    submit(database)
    with (
        closing(SessionLock(database.engine, "observer")) as observer,
        closing(SessionLock(database.engine, "other")) as other,
    ):
        observer.take()
        other.take()
        database.attempts.claim("other")
        yield observer, other


def looks(lock: SessionLock, count: int) -> list[list[tuple[str, int]]]:
    return [lock.look() for _ in range(count)]


def end_sessions(database: Database, *workers: str) -> None:
    """End the connections that hold the locks of workers, as a restart of the server does."""
    statement = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_locks "
        "WHERE locktype = 'advisory' AND objid::bigint = ANY(:keys)"
    )
    with database.engine.begin() as connection:
        connection.execute(statement, {"keys": [lock_key(each) for each in workers]})


def wait_until_released(database: Database, worker: str) -> None:
    statement = sa.text("SELECT count(*) FROM pg_locks WHERE objid::bigint = :key")
    until = time.monotonic() + 60
    while True:
        with database.engine.begin() as connection:
            if not connection.execute(statement, {"key": lock_key(worker)}).scalar():
                return
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.services
@on_postgresql
def test_the_job_of_a_killed_worker_is_found_and_that_of_a_living_one_is_not(
    database: Database, database_url: str
) -> None:
    dead, alive = submit(database), submit(database)
    with closing(SessionLock(database.engine, "observer")) as observer:
        assert observer.take() == []
        with process_of("killed", database_url) as killed, process_of("living", database_url):
            assert database.attempts.claim("killed") is not None
            assert database.attempts.claim("living") is not None
            assert looks(observer, LOOKS + 1) == [[]] * (LOOKS + 1)

            killed.send_signal(signal.SIGKILL)
            wait_until_released(database, "killed")

            *before, found = looks(observer, LOOKS)
            assert before == [[]] * (LOOKS - 1)
            assert found == [(dead.id, 1)]
            assert database.jobs.get(alive.id).worker == "living"


@pytest.mark.services
@on_postgresql
def test_nobody_is_dead_after_a_restart_of_the_server(database: Database) -> None:
    with observer_and_worker(database) as (observer, other):
        assert observer.look() == []

        end_sessions(database, "observer", "other")
        wait_until_released(database, "other")

        with pytest.raises(sa.exc.SQLAlchemyError):
            observer.look()
        assert looks(observer, LOOKS + 1) == [[]] * (LOOKS + 1)
        with pytest.raises(sa.exc.SQLAlchemyError):
            other.look()
        other.look()
        assert looks(observer, LOOKS + 1) == [[]] * (LOOKS + 1)


@pytest.mark.services
@on_postgresql
def test_a_lock_that_was_lost_is_taken_again(database: Database) -> None:
    with observer_and_worker(database) as (observer, other):
        observer.look()

        end_sessions(database, "other")
        wait_until_released(database, "other")

        assert observer.look() == []
        with pytest.raises(sa.exc.SQLAlchemyError):
            other.look()
        other.look()
        assert looks(observer, LOOKS + 1) == [[]] * (LOOKS + 1)


@pytest.mark.services
@on_postgresql
def test_a_worker_that_never_had_a_lock_is_left_to_its_lease(database: Database) -> None:
    submit(database)
    with closing(SessionLock(database.engine, "observer")) as observer:
        observer.take()
        database.attempts.claim("of an older version")

        assert looks(observer, LOOKS + 2) == [[]] * (LOOKS + 2)


@pytest.mark.services
@on_postgresql
def test_a_worker_finds_the_jobs_of_its_predecessor_of_the_same_name(database: Database) -> None:
    job = submit(database)
    database.attempts.claim("pod-7")
    with closing(SessionLock(database.engine, "pod-7")) as successor:
        assert successor.take() == [(job.id, 1)]
        with closing(SessionLock(database.engine, "pod-7")) as namesake:  # of another machine
            assert namesake.take() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_has_no_session_locks(database: Database) -> None:
    submit(database)
    with closing(SessionLock(database.engine, "worker")) as lock:
        database.attempts.claim("dead")

        assert lock.take() == []
        assert looks(lock, LOOKS + 1) == [[]] * (LOOKS + 1)
