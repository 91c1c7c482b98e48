"""Rate limits: requests a minute of each key, counted in the queue's Redis by all API processes.

Without Redis, or while it does not answer, each process counts on its own: a few requests too many
are better than an outage.
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

ANSWER_SECONDS = 0.25  # timeout of Redis
AWAY_SECONDS = 5.0  # pause after Redis did not answer


@dataclass(frozen=True)
class Allowance:
    """Remaining requests of a key, the current one included in the count."""

    limit: int
    remaining: int
    reset_seconds: int
    exceeded: bool  # the current request is over the limit

    def headers(self) -> dict[str, str]:
        """Rate limit headers of a response."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }


class RateLimits:
    """Request counters; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._limits = {"read": settings.reads_per_minute, "write": settings.writes_per_minute}
        self._local: RateLimiter = MovingWindowRateLimiter(MemoryStorage())
        self._pool = _pool(settings.broker_url) if any(self._limits.values()) else None
        self._shared: RateLimiter | None = None
        if self._pool is not None:
            storage = RedisStorage(
                "redis://", connection_pool=self._pool, key_prefix="visavis-rate"
            )
            self._shared = MovingWindowRateLimiter(storage)
        self._away_until = 0.0

    def take(self, key_id: str, kind: str) -> Allowance | None:
        """Count a request of this kind, `read` or `write`; None without a limit."""
        if not (limit := self._limits[kind]):
            return None
        item = RateLimitItemPerMinute(limit)
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                return _taken(self._shared, item, kind, key_id)
            except (RedisError, OSError) as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                logger.warning("rates are counted here only", extra={"reason": str(error)})
        return _taken(self._local, item, kind, key_id)

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.disconnect()


def _taken(limiter: RateLimiter, item: RateLimitItemPerMinute, kind: str, key_id: str) -> Allowance:
    allowed = limiter.hit(item, kind, key_id)
    window = limiter.get_window_stats(item, kind, key_id)
    seconds = max(1, math.ceil(window.reset_time - time.time()))
    return Allowance(item.amount, max(0, window.remaining), seconds, not allowed)


def _pool(broker_url: str) -> ConnectionPool | None:
    """Connections to the queue's Redis; None for another kind of broker."""
    parts = urlsplit(broker_url)
    if parts.scheme == "redis+socket":  # Celery's scheme for a Unix socket
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
