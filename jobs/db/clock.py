"""Database clock: the time of the database server, shared by all machines.

One machine writes a lease, another one reads it. If their clocks differed by more than a lease,
jobs would be taken from live workers or stay with dead ones.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from jobs.db.engine import reading
from jobs.model import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from jobs.model import Clock

logger = logging.getLogger(__name__)

QUERY_SECONDS = 30.0  # the drift of two machines in this time is negligible


class DatabaseClock:
    """Time of the server: its last answer plus the time of a monotonic clock since then."""

    def __init__(self, engine: Engine, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._server_time: datetime | None = None
        self._queried_at = 0.0

    def __call__(self) -> datetime:
        """Return the present. Raises: SQLAlchemyError: when the database has never answered."""
        with self._lock:
            if self._server_time is None or self._elapsed() > QUERY_SECONDS:
                self._query()
            assert self._server_time is not None
            return self._server_time + timedelta(seconds=self._elapsed())

    def _elapsed(self) -> float:
        return self._monotonic() - self._queried_at

    def _query(self) -> None:
        try:
            with reading(self._engine) as connection:
                now = sa.select(sa.func.clock_timestamp())
                server_time: datetime = connection.execute(now).scalar_one()
                queried_at = self._monotonic()
        except SQLAlchemyError as error:
            if self._server_time is None:
                raise
            logger.warning("clock not asked", extra={"reason": str(error)})
            return
        self._server_time, self._queried_at = server_time.astimezone(UTC), queried_at


def clock_of(engine: Engine) -> Clock:
    """Return the clock of the database; for SQLite, which is local, that of this machine."""
    return DatabaseClock(engine) if engine.dialect.name == "postgresql" else utc_now
