"""Identity of a database: a random id that no other database has."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jobs.db.engine import writing
from jobs.db.tables import identity

if TYPE_CHECKING:
    from sqlalchemy import Engine


def database_identity(engine: Engine) -> str:
    """Return the id of this database; the first call creates it."""
    ids = sa.select(identity.c.id).order_by(identity.c.id).limit(1)
    with writing(engine) as connection:
        stored = connection.execute(ids).scalar()
        if stored is not None:
            return str(stored)
        connection.execute(identity.insert().values(id=uuid.uuid4().hex))
        return str(connection.execute(ids).scalar())  # the first of two that are made at once
