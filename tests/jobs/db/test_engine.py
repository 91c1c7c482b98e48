"""Migrations: they make what the tables say, from any start, with many at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from jobs.db.engine import connect, reading
from jobs.db.migrate import upgrade
from jobs.db.tables import jobs, metadata


def test_migrations_and_tables_agree(database_url: str) -> None:
    engine = connect(database_url)

    def comparable(thing: object, name: str, kind: str, *_: object) -> bool:
        descends = kind == "index" and name in ("ix_jobs_turn", "ix_jobs_share")
        return not (descends and engine.dialect.name == "sqlite")  # Alembic cannot read that there

    with engine.connect() as connection:
        options = {"compare_type": True, "include_object": comparable}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    engine = connect(database_url)
    with engine.begin() as connection:
        before = sa.inspect(connection).get_columns("jobs")
    upgrade(database_url)
    with engine.begin() as connection:
        after = sa.inspect(connection).get_columns("jobs")
    engine.dispose()

    assert [column["name"] for column in after] == [column["name"] for column in before]
    assert len(after) == len(jobs.columns)


def test_many_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'visavis.db'}"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))

    engine = connect(url)
    with reading(engine) as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one()
    engine.dispose()
    assert count == 0


def test_sqlite_keeps_what_it_has_said(tmp_path: Path) -> None:
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


def test_the_next_job_is_found_by_an_index_without_sorting(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'visavis.db'}"
    upgrade(url)
    engine = connect(url)
    with reading(engine) as connection:
        turn = "ORDER BY priority DESC, created_at, id LIMIT 1"
        query = f"EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE state = 'queued' {turn}"
        plan = " ".join(str(row) for row in connection.exec_driver_sql(query))
    engine.dispose()

    assert "ix_jobs_turn" in plan
    assert "TEMP B-TREE" not in plan
