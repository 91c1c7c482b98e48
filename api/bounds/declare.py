"""Declaration of the bounds of a route: `@bounded(Bounds(...))` below its decorator.

A route without a declaration has the bounds of `Bounds()`, which suit requests without a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.settings import Settings

Endpoint = TypeVar("Endpoint", bound="Callable[..., object]")

KIB = 1024
MIB = 1024 * KIB
SMALL_BYTES = 4 * KIB  # of a body by default
PLAIN_BYTES = 64 * KIB  # of a body with metadata, or of the fields beside a file
JSON_BYTES = 16 * MIB  # of JSON with a file or many items: it is held in memory as a whole


class Pool(StrEnum):
    """Places that requests share; each request takes one until its response is sent."""

    REQUESTS = "requests"
    HEALTH = "health probes"
    UPLOADS = "uploads"
    WAITS = "waiting requests"  # event streams and long polls
    DOWNLOADS = "downloads"


@dataclass(frozen=True)
class Bounds:
    """Bounds of the requests of one route."""

    body_bytes: int = SMALL_BYTES  # of a body without a file; more of it is refused
    file_bytes: str | int = 0  # of a body with a file: a number, or the name of a setting
    streamed: bool = False  # into a file; other bodies than forms are held in memory
    pool: Pool = Pool.REQUESTS

    def most_bytes(self, settings: Settings) -> int:
        """Largest body with a file."""
        if isinstance(self.file_bytes, str):
            return int(getattr(settings, self.file_bytes))
        return self.file_bytes


DEFAULT = Bounds()


def bounded(bounds: Bounds) -> Callable[[Endpoint], Endpoint]:
    """Declare the bounds of an endpoint; `BoundedRoute` reads them."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.bounds = bounds  # type: ignore[attr-defined]
        return endpoint

    return declare


def declared_bounds(endpoint: Callable[..., object]) -> Bounds:
    """The declared bounds of an endpoint, or the default."""
    bounds: Bounds = getattr(endpoint, "bounds", DEFAULT)
    return bounds
