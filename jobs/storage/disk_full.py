"""Errors of a full disk or a full database."""

from __future__ import annotations

import errno
import sqlite3

FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = "53100"  # PostgreSQL's SQLSTATE


def is_full(error: BaseException | None) -> bool:
    """Return whether this error, or one of its causes, means that no space is left."""
    seen: set[int] = set()  # an error can be its own cause: `raise error from error`
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in FULL_ERRORS:
            return True
        if _database_is_full(getattr(error, "orig", error)):  # SQLAlchemy wraps the driver's error
            return True
        error = error.__cause__
    return False


def _database_is_full(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == DISK_FULL
