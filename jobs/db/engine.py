"""Database connections and transactions."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

if TYPE_CHECKING:
    from collections.abc import Iterator


BUSY_MILLISECONDS = 10_000


def connect(url: str) -> Engine:
    """Create an engine for `url`; SQLite in WAL mode, so that readers never wait for a writer.

    Its errors do not contain the parameters, which are data of callers.
    """
    engine = sa.create_engine(_with_driver(url), pool_pre_ping=True, hide_parameters=True)
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
    with engine.begin() as connection:
        yield connection


def _with_driver(url: str) -> sa.URL:
    """Plain `postgresql://` means psycopg 3, the driver that is installed with `[postgres]`."""
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _make_folder(engine: Engine) -> None:
    if engine.url.database and engine.url.database != ":memory:":
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # _begin_sqlite starts transactions, not the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")  # an accepted job survives a power cut
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("visavis_reads", False)
    # With IMMEDIATE a second writer waits here instead of failing at its first write.
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
