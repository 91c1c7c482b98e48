"""One clock for all machines: that of the database.

A lease that one machine writes is read by another. Where their clocks differ by more than a lease,
jobs would be taken from workers that live, or be left with those that died.
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

ASK_SECONDS = 30.0  # how far two machines' seconds can differ in this time does not matter


class DatabaseClock:
    """The time of the server, counted on from its last answer by a clock that nobody sets."""

    def __init__(self, engine: Engine, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told: datetime | None = None
        self._told_at = 0.0

    def __call__(self) -> datetime:
        """The present. An error of the database where it has never answered."""
        with self._lock:
            if self._told is None or self._monotonic() - self._told_at > ASK_SECONDS:
                self._ask()
            assert self._told is not None
            return self._told + timedelta(seconds=self._monotonic() - self._told_at)

    def _ask(self) -> None:
        try:
            with reading(self._engine) as connection:
                asked = sa.select(sa.func.clock_timestamp())
                told: datetime = connection.execute(asked).scalar_one()
                told_at = self._monotonic()
        except SQLAlchemyError as error:
            if self._told is None:
                raise
            logger.warning("clock not asked", extra={"reason": str(error)})
            return
        self._told, self._told_at = told.astimezone(UTC), told_at


def clock_of(engine: Engine) -> Clock:
    """The server's; that of this machine for SQLite, which is nowhere else."""
    return DatabaseClock(engine) if engine.dialect.name == "postgresql" else utc_now
