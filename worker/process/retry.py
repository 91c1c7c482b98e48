"""A storage or database that is away for a minute costs waiting, not the work that was done."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from jobs.storage.factory import ObjectMissing, StorageError, StorageFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from jobs.storage.factory import ObjectInfo, Storage

    Pause = Callable[[float], None]  # sleeps so many seconds; what it raises ends the waiting

logger = logging.getLogger(__name__)

T = TypeVar("T")

OUTAGES = (StorageError, SQLAlchemyError)
DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # one minute between the first try and the last
LONGEST_SECONDS = 60.0  # tries that take long themselves are fewer: nobody waits for an hour


def is_outage(error: Exception) -> bool:
    """Whether waiting may help: neither the job nor our code is at fault."""
    return isinstance(error, OUTAGES) and not isinstance(error, StorageFull)


class Files(Protocol):
    """The part of a storage that work needs."""

    def put(self, key: str, path: Path, content_type: str) -> None:
        """Store the file at `path`."""

    def get(self, key: str, path: Path) -> None:
        """Write the object to a file at `path`. ObjectMissing where there is none."""

    def stat(self, key: str) -> ObjectInfo:
        """Size and type. ObjectMissing where there is none."""


class RetryingStorage:
    """Files that try again for a minute before they give up."""

    def __init__(self, storage: Storage, pause: Pause) -> None:
        self._storage = storage
        self._pause = pause

    def put(self, key: str, path: Path, content_type: str) -> None:
        """As `Storage.put`."""
        with_retries(lambda: self._storage.put(key, path, content_type), self._pause)

    def get(self, key: str, path: Path) -> None:
        """As `Storage.get`."""
        with_retries(lambda: self._storage.get(key, path), self._pause)

    def stat(self, key: str) -> ObjectInfo:
        """As `Storage.stat`."""
        return with_retries(lambda: self._storage.stat(key), self._pause)


def with_retries(action: Callable[[], T], pause: Pause, *, delays: Sequence[float] = DELAYS) -> T:
    """The answer of `action`, tried again while storage or database are away."""
    began = time.monotonic()
    for delay in delays:
        try:
            return action()
        except ObjectMissing:  # an answer, and no outage
            raise
        except OUTAGES as error:
            if time.monotonic() - began > LONGEST_SECONDS:
                raise
            logger.warning("away, waiting", extra={"reason": str(error), "seconds": delay})
            pause(delay)
    return action()
