"""Migrations match the tables, keep data, and can run concurrently."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from jobs.database import stores_on
from jobs.db.engine import connect, reading, writing
from jobs.db.migrate import upgrade
from jobs.db.tables import jobs, metadata
from tests.jobs.rows import submit


def test_migrations_and_tables_agree(database_url: str) -> None:
    engine = connect(database_url)

    def comparable(thing: object, name: str, kind: str, *_: object) -> bool:
        descends = kind == "index" and name in ("ix_jobs_turn", "ix_jobs_share")
        return not (
            descends and engine.dialect.name == "sqlite"
        )  # Alembic cannot read descending indexes of SQLite

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


def test_concurrent_upgrades_are_safe(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'visavis.db'}"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))

    engine = connect(url)
    with reading(engine) as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar_one()
    engine.dispose()
    assert count == 0


def test_migration_0004_keeps_the_person_of_a_job(database_url: str) -> None:
    from alembic import command

    from jobs.db.migrate import _alembic_config

    engine = connect(database_url)
    database = stores_on(engine)
    job = submit(database, person="ada")

    def migrate(move: str, revision: str) -> None:
        config = _alembic_config()
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            getattr(command, move)(config, revision)

    migrate("downgrade", "0003")
    migrate("upgrade", "head")

    with reading(engine) as connection:
        assert connection.execute(sa.select(jobs.c.person)).scalar_one() == "ada"
    assert database.jobs.get(job.id) == job
    database.close()
