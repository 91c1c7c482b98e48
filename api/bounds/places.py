"""Places for requests, shared out by tenant: a slow or hanging client costs only its tenant."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.bounds.declare import Pool
from api.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.settings import Settings

RETRY_SECONDS = "2"
REQUESTS_AT_ONCE = 1000  # far more than one process can answer in a second
HEALTH_AT_ONCE = 100
DOWNLOADS_AT_ONCE = 200
# `connections` of the settings bounds all of them together.


class Places:
    """Places of all pools of this process; used on the event loop only.

    Where callers need keys, a tenant gets at most half of the places that the others leave free.
    So no tenant can take all of them, and there is one for each next tenant.
    """

    def __init__(self, settings: Settings) -> None:
        self._sizes = {
            Pool.REQUESTS: REQUESTS_AT_ONCE,
            Pool.HEALTH: HEALTH_AT_ONCE,
            Pool.UPLOADS: settings.uploads_at_once,
            Pool.WAITS: settings.waits_at_once,
            Pool.DOWNLOADS: DOWNLOADS_AT_ONCE,
        }
        self._shared = settings.keys_needed
        self._taken = {pool: Counter[str]() for pool in Pool}

    def taken(self, pool: Pool, tenant: str | None = None) -> int:
        """Places that are in use, by one tenant or by all."""
        by_tenant = self._taken[pool]
        return by_tenant.total() if tenant is None else by_tenant[tenant]

    def take(self, pool: Pool, tenant: str) -> None:
        """Take a place.

        Raises:
            Problem: 503 when all places, or those of the tenant, are in use.
        """
        size, by_tenant = self._sizes[pool], self._taken[pool]
        own = by_tenant[tenant]
        free = size - (by_tenant.total() - own)
        share = -(-free // 2) if self._shared and pool is not Pool.HEALTH else free
        if own >= share:
            raise _busy(pool, size, own, tenant, alone=own == by_tenant.total())
        by_tenant[tenant] += 1

    def release(self, pool: Pool, tenant: str) -> None:
        """Release a place."""
        by_tenant = self._taken[pool]
        by_tenant[tenant] -= 1
        if not by_tenant[tenant]:
            del by_tenant[tenant]

    @contextmanager
    def held(self, pool: Pool, tenant: str) -> Iterator[None]:
        """Hold a place until the block ends. Raises: Problem: see `take`."""
        self.take(pool, tenant)
        try:
            yield
        finally:
            self.release(pool, tenant)


@dataclass
class Holding:
    """Places of one request, released together."""

    places: Places
    tenant: str
    pools: dict[Pool, str] = field(default_factory=dict)  # with the tenant of each place

    def take(self, pool: Pool, tenant: str | None = None) -> None:
        """Take a place, unless the request has one. Raises: Problem: see `Places.take`.

        tenant: the one that the place counts for; None: that of the caller.
        """
        if pool not in self.pools:
            tenant = self.tenant if tenant is None else tenant
            self.places.take(pool, tenant)
            self.pools[pool] = tenant

    def release(self, *pools: Pool) -> None:
        """Release the place of each of these pools, or all places."""
        for pool in pools or tuple(self.pools):
            if pool in self.pools:
                self.places.release(pool, self.pools.pop(pool))


def _busy(pool: Pool, size: int, own: int, tenant: str, *, alone: bool) -> Problem:
    code = "uploads_busy" if pool is Pool.UPLOADS else "server_busy"
    if own < size and alone:
        detail = (
            f"Tenant {tenant!r} uses {own} of {size} places for {pool}, which is its share; send "
            "the request again when one of them has ended."
        )
    else:
        detail = f"All {size} places for {pool} are in use; send the request again."
    headers = {"Retry-After": RETRY_SECONDS, "Connection": "close"}
    return Problem(code, detail, headers=headers)
