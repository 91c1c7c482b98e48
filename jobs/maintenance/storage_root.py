"""Root of the storage: made once, at the first start with a database, and never again.

An unmounted disk leaves an empty folder behind. A process that made the root there would store
clips below the mount point and report earlier ones as missing. So the root contains the identity of
its database, and without it the storage counts as unavailable.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from jobs.db.engine import reading, writing
from jobs.db.identity import database_identity, is_identity
from jobs.db.tables import identity
from jobs.model import utc_now
from jobs.storage.factory import StorageError
from jobs.storage.keys import IDENTITY_KEY

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.storage.factory import Storage

logger = logging.getLogger(__name__)


def prepare_storage(engine: Engine, storage: Storage) -> None:
    """Make the root at the first start with this database; an outage is only logged."""
    try:
        if is_made(engine):
            check_owner(engine, storage)
            return
        if storage.owner() is None:
            storage.make_root(database_identity(engine))
        check_owner(engine, storage)
        with writing(engine) as connection:
            connection.execute(identity.update().values(storage_made_at=utc_now()))
    except (StorageError, SQLAlchemyError) as error:
        logger.error("storage away", extra={"reason": str(error)})


def check_owner(engine: Engine, storage: Storage) -> None:
    """Check that the storage is that of the database.

    Raises: StorageError: when its root is missing or belongs to another database.
    """
    expected, found = database_identity(engine), storage.owner()
    if found is None:
        raise StorageError(
            f"the storage has no {IDENTITY_KEY}; mount it, or correct VISAVIS_STORAGE_URL (for a "
            f"new, empty storage write {expected} to that file in its root)"
        )
    if found != expected and not is_identity(engine, found):
        raise StorageError(
            f"the storage belongs to another database ({IDENTITY_KEY} has {found[:40]!r}, expected "
            f"{expected}); correct VISAVIS_STORAGE_URL or VISAVIS_DATABASE_URL"
        )


def is_made(engine: Engine) -> bool:
    """Return whether a process with this database has made the root of its storage."""
    with reading(engine) as connection:
        return connection.execute(sa.select(identity.c.storage_made_at)).scalar() is not None
