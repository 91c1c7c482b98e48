"""Database connections: SQLite settings, transactions, drivers."""

from pathlib import Path

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
