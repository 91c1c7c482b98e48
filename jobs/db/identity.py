"""Identity of a database: a random id that no other database has."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.engine import reading, writing
from jobs.db.tables import identity

if TYPE_CHECKING:
    from sqlalchemy import Engine


def database_identity(engine: Engine) -> str:
    """Return the id of this database; the first call creates it."""
    ids = sa.select(identity.c.id).order_by(identity.c.id).limit(1)
    with reading(engine) as connection:
        if (stored := connection.execute(ids).scalar()) is not None:
            return str(stored)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":  # SQLite has one writer at a time
            connection.exec_driver_sql("LOCK TABLE identity IN SHARE ROW EXCLUSIVE MODE")
        if connection.execute(ids).scalar() is None:
            connection.execute(identity.insert().values(id=uuid.uuid4().hex))
        return str(connection.execute(ids).scalar())


def is_identity(engine: Engine, value: str) -> bool:
    """Return whether the database has this id.

    An old database may have two, made by processes that started at once.
    """
    with reading(engine) as connection:
        row = connection.execute(sa.select(identity.c.id).where(identity.c.id == value)).first()
        return row is not None
