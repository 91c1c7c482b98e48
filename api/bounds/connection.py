"""Bounds of connections: time for headers, for rest of bodies, and for readers of responses.

uvicorn waits for ever for a header and for a client that does not read. `visavis-server api` serves
with `connection_class`, and `uvicorn --http api.bounds.connection:BoundedConnection` does the same.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

HEADER_SECONDS = 10.0  # from the first byte of a request, or from the connection, to its header
WRITE_SECONDS = 30.0  # in which a client has to read some of the response that waits for it
REST_BYTES = 64 * 1024  # of a body that arrive after the response; then the connection is closed
MOST_FILES = 65_536
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedConnection(H11Protocol):
    """An HTTP connection that is closed when its client is too slow."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._started = False  # bytes of a request have arrived
        self._rest_bytes = 0
        self.since = self.loop.time()  # of its last complete header, or of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a header; beyond the most connections, close the one that has waited longest."""
        super().connection_made(transport)
        self._await_header()
        if len(self.connections) > most_connections():
            _close_one(each for each in self.connections if isinstance(each, BoundedConnection))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_header_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a header or body."""
        if self.idle and self.cycle is not None and self.cycle.more_body:
            self._rest_bytes += len(data)
            if self._rest_bytes > REST_BYTES:
                self.transport.close()
                return
        self._started = True
        super().data_received(data)
        if self.idle:
            self._await_header()
        else:
            self.since = self.loop.time()
            self._stop_header_timer()

    def on_response_complete(self) -> None:
        """Wait for the rest of the body, if there is one, no longer than for a header."""
        self._rest_bytes = 0
        self._started = False
        super().on_response_complete()
        if self.idle and self.cycle.more_body and not self.transport.is_closing():
            self._await_header()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, because the client has read."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    @property
    def idle(self) -> bool:
        """True while no request is in progress."""
        return self.cycle is None or self.cycle.response_complete

    def close_early(self) -> None:
        """Close the connection before a header is complete."""
        if self.transport.is_closing() or not self.idle:
            return
        if self._started and not (self.cycle is not None and self.cycle.more_body):
            self.transport.write(REQUEST_TIMEOUT)
        self.transport.close()

    def _await_header(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self.close_early)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def most_connections() -> int:
    """Connections at a time: three quarters of the open files that this process may have."""
    return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4)


def raise_file_limit() -> int:
    """Raise the limit of open files as far as the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def _close_one(connections: Iterable[BoundedConnection]) -> None:
    idle = [each for each in connections if each.idle and not each.transport.is_closing()]
    if idle:
        # A connection that has never sent a request goes first.
        min(idle, key=lambda each: (each.cycle is not None, each.since)).close_early()
