"""Bounded requests: the body counts while it streams, and the request holds its places."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.routing import APIRoute

from api.bounds.declare import JSON_BYTES, PLAIN_BYTES, Bounds, Pool, declared_bounds
from api.bounds.places import Holding, Places
from api.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from fastapi import Response
    from starlette.types import Receive, Scope, Send

    from api.bounds.gates import Gates
    from jobs.settings import Settings

FORM = "multipart/form-data"
FORM_FILES, FORM_FIELDS = 8, 32  # limits of a form; more files than it has fields for are refused
FIELD_BYTES = 4096
SMALL_SECONDS = 10.0  # for the body of a request without a file
RATE_SECONDS = 10.0  # of waiting for the client, in which RATE_BYTES have to arrive
RATE_BYTES = 40 * 1024  # 4 KiB a second: less than the slowest mobile network
THREADS_AT_ONCE = 8  # of one tenant, of 40 in this process
ANYBODY = ""  # tenant of requests that need no key


class BoundedRequest(Request):
    """A request within the bounds of its route."""

    def __init__(self, scope: Scope, receive: Receive, bounds: Bounds) -> None:
        super().__init__(scope, receive)
        self.bounds = bounds
        self._settings: Settings = self.app.state.services.settings
        caller = getattr(self.state, "caller", None)
        tenant = ANYBODY if caller is None else caller.tenant
        places: Places = self.app.state.places
        self.holding = Holding(places, tenant)
        self._threads: Gates = self.app.state.threads

    def thread_place(self) -> AbstractAsyncContextManager[None]:
        """Wait for one of the few threads that a tenant may use at a time."""
        return self._threads.of(self.holding.tenant)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in chunks.

        A body with more than a few fields takes a place for an upload.

        Raises:
            Problem: when it is too large (its actual length counts, not its header) or too slow.
        """
        is_form = media_type(self) == FORM
        most, received = self._most_bytes(is_form=is_form), 0
        declared = self.headers.get("content-length", "")
        if declared.isdecimal():
            self._check(int(declared), most)
        if is_form:
            self._check(self.bounds.body_bytes + 1, most)
        pace = Pace(self._settings.upload_seconds)
        async for chunk in pace.timed(super().stream()):
            received += len(chunk)
            pace.large = self._check(received, most)
            yield chunk

    def form(self, **_limits: Any) -> Any:
        """The form, limited to a few files and short fields."""
        return super().form(max_files=FORM_FILES, max_fields=FORM_FIELDS, max_part_size=FIELD_BYTES)

    def _most_bytes(self, *, is_form: bool) -> int:
        most = self.bounds.most_bytes(self._settings)
        if not most:
            return self.bounds.body_bytes
        to_disk = is_form or self.bounds.streamed
        return (most if to_disk else min(most, JSON_BYTES)) + PLAIN_BYTES

    def _check(self, size: int, most: int) -> bool:
        """Check a size; a large body takes its place. Raises: Problem: see `stream`."""
        if size > most:
            raise too_large(most if most == self.bounds.body_bytes else most - PLAIN_BYTES)
        is_large = size > self.bounds.body_bytes
        if is_large:
            self.holding.take(Pool.UPLOADS)
        return is_large


class Pace:
    """Time limits of a body: in total, and a least rate for a large one."""

    def __init__(self, seconds: float) -> None:
        """seconds: limit of a large body."""
        self.large = False
        self._seconds = seconds
        self._waited = self._in_window = 0.0  # seconds in which the client has sent nothing
        self._window_bytes = 0

    async def timed(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The chunks; time that the server needs for them does not count.

        Raises: Problem: 408 when they arrive too slowly.
        """
        clock = asyncio.get_running_loop().time
        while True:
            start, left = clock(), self._left()
            try:
                async with asyncio.timeout(left):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise too_slow(self._limit()) from None
            waited = clock() - start
            self._waited += waited
            self._in_window += waited
            self._window_bytes += len(chunk)
            if self._window_bytes >= RATE_BYTES:
                self._in_window, self._window_bytes = 0.0, 0
            yield chunk

    def _limit(self) -> float:
        return self._seconds if self.large else min(self._seconds, SMALL_SECONDS)

    def _left(self) -> float:
        """Seconds for the next chunk."""
        return max(0.0, min(self._limit() - self._waited, RATE_SECONDS - self._in_window))


class BoundedRoute(APIRoute):
    """A route whose requests are bounded: see `api/bounds/declare.py`."""

    @property
    def bounds(self) -> Bounds:
        """The bounds of the route."""
        return declared_bounds(self.endpoint)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler, bounds = super().get_route_handler(), self.bounds
        in_thread = not iscoroutinefunction(self.endpoint)

        async def handle(request: Request) -> Any:
            bounded = BoundedRequest(request.scope, request.receive, bounds)
            try:
                bounded.holding.take(bounds.pool)
                async with bounded.thread_place() if in_thread else nullcontext():
                    response = await handler(bounded)
            except BaseException:
                bounded.holding.release()
                raise
            return _HoldingResponse(response, bounded.holding)

        return handle


class _HoldingResponse:
    """A response that releases the places of its request once it is sent."""

    def __init__(self, response: Response, holding: Holding) -> None:
        self._response = response
        self._holding = holding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._holding.release()


def media_type(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def too_slow(seconds: float) -> Problem:
    """408: the body did not arrive in time."""
    return Problem(
        "upload_too_slow",
        f"The body did not arrive within {seconds:g} s, or came slower than "
        f"{RATE_BYTES / RATE_SECONDS:g} bytes a second; send a smaller format such as flac, mp3 or "
        "ogg.",
        headers={"Connection": "close"},
    )


def too_large(most: int) -> Problem:
    """413: the body has more bytes than the route reads."""
    fix = (
        "send fewer or shorter fields"
        if most <= PLAIN_BYTES
        else "send a shorter clip, a smaller format such as flac, mp3 or ogg, or a form instead of "
        "JSON; or send it by POST /uploads"
    )
    return Problem(
        "upload_too_large",
        f"The body is larger than {most} bytes; {fix}.",
        headers={"Connection": "close"},
    )
