"""Idempotent replay: a request that is sent again with its Idempotency-Key makes nothing new."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from jobs.store.idempotency import IdempotencyConflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.store.idempotency import IdempotencyKey

T = TypeVar("T")


@dataclass(frozen=True)
class Accepted(Generic[T]):
    """The job or batch of a request."""

    made: T
    replayed: bool  # an earlier request with the same key made it


def make_once(
    key: IdempotencyKey | None,
    *,
    find: Callable[[IdempotencyKey], T | None],
    make: Callable[[], T],
) -> Accepted[T]:
    """Return what an earlier request with this key made, else make it.

    make: raises IdempotencyConflict when another request has committed the key meanwhile.

    Raises:
        IdempotencyKeyReused: when the key was sent with another request.
    """
    if key is None:
        return Accepted(make(), replayed=False)
    while True:
        if (found := find(key)) is not None:
            return Accepted(found, replayed=True)
        with suppress(IdempotencyConflict):
            return Accepted(make(), replayed=False)
