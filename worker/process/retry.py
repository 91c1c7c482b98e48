"""Retry storage and database calls for a minute, so a short outage does not lose finished work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_chain,
    wait_fixed,
)

from jobs.storage.factory import ObjectMissing, StorageError, StorageFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tenacity import RetryCallState

    from jobs.storage.factory import ObjectInfo, Storage

    Pause = Callable[[float], None]  # sleeps this many seconds; an exception ends the retries

logger = logging.getLogger(__name__)

T = TypeVar("T")

OUTAGES = (StorageError, OperationalError, InterfaceError, PoolTimeout)
DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # one minute between the first and the last attempt
READ_TRIES = 4  # of a read, within 3.5 s
LONGEST_SECONDS = 60.0  # after this time no retry starts, even if the attempts themselves were slow


def is_outage(error: Exception) -> bool:
    """Return True if the storage or database did not respond and a retry may succeed."""
    return isinstance(error, OUTAGES) and not isinstance(error, StorageFull)


class Files(Protocol):
    """The storage operations that a job needs."""

    def put(self, key: str, path: Path, content_type: str) -> None:
        """Store the file at `path`."""

    def get(self, key: str, path: Path) -> None:
        """Write the object to a file at `path`. Raises: ObjectMissing: when it does not exist."""

    def stat(self, key: str) -> ObjectInfo:
        """Return size and type. Raises: ObjectMissing: when the object does not exist."""

    def remove(self, keys: Sequence[str]) -> None:
        """Remove these objects, at most a page of them; missing ones are ignored."""


class RetryingStorage:
    """Storage whose writes are retried for up to one minute, and reads for some seconds.

    A job that reads has little to lose, and another worker may have the storage; one that writes
    has finished work in its hands.
    """

    def __init__(self, storage: Storage, pause: Pause) -> None:
        self._storage = storage
        self._pause = pause

    def put(self, key: str, path: Path, content_type: str) -> None:
        """See `Storage.put`."""
        with_retries(lambda: self._storage.put(key, path, content_type), self._pause)

    def get(self, key: str, path: Path) -> None:
        """See `Storage.get`."""
        RETRYING_READS.copy(sleep=self._pause)(lambda: self._storage.get(key, path))

    def stat(self, key: str) -> ObjectInfo:
        """See `Storage.stat`."""
        return RETRYING_READS.copy(sleep=self._pause)(lambda: self._storage.stat(key))

    def remove(self, keys: Sequence[str]) -> None:
        """See `Storage.remove`."""
        with_retries(lambda: self._storage.remove(keys), self._pause)


def with_retries(action: Callable[[], T], pause: Pause) -> T:
    """Return the result of `action`; retry while the storage or database is unavailable."""
    return RETRYING.copy(sleep=pause)(action)


def _log_retry(state: RetryCallState) -> None:
    assert state.outcome is not None
    reason, seconds = str(state.outcome.exception()), state.upcoming_sleep
    logger.warning("away, waiting", extra={"reason": reason, "seconds": seconds})


RETRYING = Retrying(
    retry=retry_if_exception_type(OUTAGES) & retry_if_not_exception_type(ObjectMissing),
    wait=wait_chain(*map(wait_fixed, DELAYS)),
    stop=stop_after_attempt(len(DELAYS) + 1) | stop_after_delay(LONGEST_SECONDS),
    before_sleep=_log_retry,
    reraise=True,
)
RETRYING_READS = RETRYING.copy(stop=stop_after_attempt(READ_TRIES))
