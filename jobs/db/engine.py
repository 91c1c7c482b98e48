"""Database connections and transactions."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from contracts.files import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


AFTER_COMMIT = "visavis_after_commit"
BUSY_MILLISECONDS = 10_000
# Less than a lease: seconds to connect, and milliseconds for sent data to be acknowledged.
TIMEOUTS = {"connect_timeout": 5, "tcp_user_timeout": 10_000}


def connect(url: str) -> Engine:
    """Create an engine for `url`; SQLite in WAL mode, so that readers never wait for a writer.

    Its errors do not contain the parameters, which are data of callers.
    """
    address = _with_driver(url)
    engine = sa.create_engine(
        address,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=_timeouts(address),
    )
    if engine.dialect.name == "sqlite":
        _make_folder(engine)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a read-only transaction; it takes no lock on SQLite."""
    with engine.connect().execution_options(visavis_reads=True) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction, committed at the end; SQLite runs one at a time."""
    actions: list[Callable[[], None]] = []
    with engine.begin() as connection:
        connection.info[AFTER_COMMIT] = actions
        yield connection
    for action in actions:
        action()


def after_commit(connection: Connection, action: Callable[[], None]) -> None:
    """Call `action` once the transaction of `writing` is committed; not after a rollback."""
    connection.info[AFTER_COMMIT].append(action)


def _with_driver(url: str) -> sa.URL:
    """Plain `postgresql://` means psycopg 3, the driver that is installed with `[postgres]`."""
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _timeouts(url: sa.URL) -> dict[str, int]:
    """Options of libpq that the URL does not set, so that a lost server is an error in time."""
    if url.get_backend_name() != "postgresql":
        return {}
    return {name: value for name, value in TIMEOUTS.items() if name not in url.query}


def _make_folder(engine: Engine) -> None:
    """Create the file of a SQLite database and its folder, for their owner only."""
    if engine.url.database and engine.url.database != ":memory:":
        path = Path(engine.url.database)
        private_folder(path.parent)
        with suppress(OSError):  # connecting reports it
            path.touch(mode=0o600)  # SQLite gives its other files the same mode


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # _begin_sqlite starts transactions, not the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    _set_journal_mode(cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")  # an accepted job survives a power cut
    cursor.close()


def _set_journal_mode(cursor: Any) -> None:
    """Turn WAL on. Of several connections to a new file, one does it, and the others wait for it.

    SQLite's own timeout does not hold here: it refuses a change of the mode at once, because two
    connections that both read and want to write would wait for each other.
    """
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("visavis_reads", False)
    # With IMMEDIATE a second writer waits here instead of failing at its first write.
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
