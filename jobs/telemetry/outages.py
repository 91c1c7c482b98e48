"""Outages in the log: one line when something goes away, and one when it is back.

Every request and every background task meets the same outage; a traceback of each would hide what
happened.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobs.storage.errors import StorageError

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0  # a line for an outage that lasts
BACKGROUND = "(Background on this error at:"  # what SQLAlchemy appends to its errors


@dataclass
class _Outage:
    began: float
    reported: float
    errors: int = 1


_outages: dict[str, _Outage] = {}
_lock = threading.Lock()


def outage_of(error: BaseException) -> str | None:
    """The name of what is away; None for an error that is not an outage."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return "database"
    return "storage" if isinstance(error, StorageError) else None


def report(error: BaseException, message: str) -> None:
    """Log an error of a task: an outage once, with its reason; any other with its traceback."""
    what = outage_of(error)
    if what is None:
        logger.error(message, exc_info=error)
        return
    now = time.monotonic()
    with _lock:
        outage = _outages.get(what)
        if outage is None:
            _outages[what] = _Outage(now, now)
        else:
            outage.errors += 1
            if now - outage.reported < REPEAT_SECONDS:
                return
            outage.reported = now
        errors = _outages[what].errors
    facts = {"reason": reason_of(error), "errors": errors}
    logger.error("%s away", what, extra=facts)


def over(what: str) -> None:
    """Log that something answers again, if it was away."""
    with _lock:
        outage = _outages.pop(what, None)
    if outage is not None:
        seconds = round(time.monotonic() - outage.began, 1)
        logger.info("%s back", what, extra={"seconds": seconds, "errors": outage.errors})


def reason_of(error: BaseException) -> str:
    """The reason of an error on one line, without the statement and the links of SQLAlchemy."""
    text = str(error.orig if isinstance(error, DBAPIError) and error.orig else error)
    lines = (line.strip() for line in text.splitlines())
    reason = "; ".join(line for line in lines if line and not line.startswith(BACKGROUND))
    return reason or type(error).__name__
