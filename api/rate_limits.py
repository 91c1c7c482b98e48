"""Requests a minute of each key: counted in the Redis of the queue, so that every API counts alike.

Where there is none, or it does not answer, each process counts for itself: too many requests of a
caller are a smaller harm than none of anybody's.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import ConnectionPool, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from limits.strategies import RateLimiter

    from jobs.settings import Settings

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.25  # of the Redis, in a thread of its own
AWAY_SECONDS = 5.0  # before one that did not answer is asked again


@dataclass(frozen=True)
class Allowance:
    """What is left to a key of its requests a minute, this one counted."""

    limit: int
    remaining: int
    reset_seconds: int
    spent: bool  # this one was too many

    def headers(self) -> dict[str, str]:
        """As answers tell it."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }


class Rates:
    """Counts requests; may be asked from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._limits = {"read": settings.reads_per_minute, "write": settings.writes_per_minute}
        self._alone: RateLimiter = MovingWindowRateLimiter(MemoryStorage())
        self._pool = _pool(settings.broker_url) if any(self._limits.values()) else None
        self._shared: RateLimiter | None = None
        if self._pool is not None:
            storage = RedisStorage(
                "redis://", connection_pool=self._pool, key_prefix="visavis-rate"
            )
            self._shared = MovingWindowRateLimiter(storage)
        self._away_until = 0.0

    def take(self, key_id: str, kind: str) -> Allowance | None:
        """Count a request of this kind, `read` or `write`; None where there is no limit."""
        if not (limit := self._limits[kind]):
            return None
        item = RateLimitItemPerMinute(limit)
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                return _taken(self._shared, item, kind, key_id)
            except (RedisError, OSError) as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                logger.warning("rates are counted here only", extra={"reason": str(error)})
        return _taken(self._alone, item, kind, key_id)

    def close(self) -> None:
        """Give the connections back."""
        if self._pool is not None:
            self._pool.disconnect()


def _taken(limiter: RateLimiter, item: RateLimitItemPerMinute, kind: str, key_id: str) -> Allowance:
    allowed = limiter.hit(item, kind, key_id)
    left = limiter.get_window_stats(item, kind, key_id)
    seconds = max(1, math.ceil(left.reset_time - time.time()))
    return Allowance(item.amount, max(0, left.remaining), seconds, not allowed)


def _pool(broker_url: str) -> ConnectionPool | None:
    """Connections to the Redis of the queue; None where there is none that we can speak to."""
    parts = urlsplit(broker_url)
    if parts.scheme == "redis+socket":  # as Celery writes it
        database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
        url = f"unix://{parts.path}?db={database}"
    elif parts.scheme in ("redis", "rediss"):
        url = broker_url
    else:
        return None
    return ConnectionPool.from_url(
        url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
