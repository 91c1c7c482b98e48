"""The identity of a database does not change."""

from jobs.database import Database
from jobs.db.identity import database_identity


def test_a_database_keeps_its_identity(database: Database) -> None:
    assert database_identity(database.engine) == database_identity(database.engine)
    assert len(database_identity(database.engine)) == 32
