"""Database connections: SQLite settings, transactions, drivers."""

import sqlite3
from pathlib import Path
from threading import Timer

import pytest
import sqlalchemy as sa

from jobs.db.engine import connect, reading
from jobs.db.migrate import upgrade
from jobs.db.tables import jobs


def test_sqlite_commits_are_durable(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'visavis.db'}")
    with reading(engine) as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        foreign = connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one()
    engine.dispose()

    assert (mode, synchronous, foreign) == ("wal", 2, 1)


def test_a_connection_to_a_new_file_waits_for_another_one_that_prepares_it(tmp_path: Path) -> None:
    path = tmp_path / "visavis.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = Timer(0.2, other.rollback)
    release.start()
    engine = connect(f"sqlite:///{path}")

    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"

    release.join()
    other.close()
    engine.dispose()


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'visavis.db'}"
    upgrade(url)
    engine = connect(url)
    with engine.begin() as writer:
        writer.execute(jobs.delete())
        with reading(engine) as reader:
            assert reader.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one() == 0
    engine.dispose()


def test_plain_postgresql_urls_mean_psycopg_3() -> None:
    for scheme in ("postgresql", "postgres"):
        engine = connect(f"{scheme}://someone@nowhere.invalid/visavis")
        assert engine.dialect.driver == "psycopg"
        engine.dispose()


@pytest.mark.services
def test_a_lost_server_is_an_error_before_a_lease_ends(postgresql_url: str) -> None:
    for url, seconds in ((postgresql_url, "5"), (_with(postgresql_url, connect_timeout="2"), "2")):
        engine = connect(url)
        with reading(engine) as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            parameters = driver.info.get_parameters()
        engine.dispose()

        assert parameters["connect_timeout"] == seconds
        assert parameters["tcp_user_timeout"] == "10000"


def _with(url: str, **query: str) -> str:
    changed = sa.make_url(url).update_query_dict(query)
    return changed.render_as_string(hide_password=False)
