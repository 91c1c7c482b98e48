"""The identity of a database does not change."""

from concurrent.futures import ThreadPoolExecutor

from jobs.database import Database
from jobs.db.engine import connect
from jobs.db.identity import database_identity, is_identity


def test_a_database_keeps_its_identity(database: Database) -> None:
    assert database_identity(database.engine) == database_identity(database.engine)
    assert len(database_identity(database.engine)) == 32


def test_processes_that_start_at_once_agree_on_the_identity(database: Database) -> None:
    engines = [connect(database.engine.url.render_as_string(hide_password=False)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(database_identity, engines))
    for engine in engines:
        engine.dispose()

    assert found == {database_identity(database.engine)}
    assert is_identity(database.engine, found.pop())
    assert not is_identity(database.engine, "another")
