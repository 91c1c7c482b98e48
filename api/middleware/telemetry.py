"""Metrics and the span of every request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from jobs.telemetry import traces
from jobs.telemetry.metrics import HTTP_IN_FLIGHT, HTTP_SECONDS
from jobs.telemetry.prometheus import in_flight, observe
from jobs.telemetry.trace_context import received_trace
from jobs.telemetry.traces import Kind, span

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from jobs.telemetry.traces import Span

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
OTHER = "_OTHER"  # of the semantic conventions; callers may invent methods
NO_ROUTE = "none"  # not found, or refused before routing
PROBES = ("/healthz", "/readyz")  # of load balancers, every few seconds: without spans


class TelemetryMiddleware:
    """Outermost ASGI middleware: the current trace is part of every log line of the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status = 0
        start = time.perf_counter()

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else OTHER
        facts = {traces.METHOD: method, traces.PATH: scope["path"], traces.SCHEME: scope["scheme"]}
        parent = received_trace(Headers(scope=scope))
        with (
            in_flight(HTTP_IN_FLIGHT),
            span(method, Kind.SERVER, parent=parent, attributes=facts) as recorded,
        ):
            try:
                await self._app(scope, receive, noting_status)
            finally:
                seconds, route = time.perf_counter() - start, route_of(scope)
                group = f"{status // 100}xx" if status else "none"  # none: the client went away
                observe(HTTP_SECONDS, seconds, method=method, route=route, status=group)
                _describe(recorded, method, route, status)


def route_of(scope: Scope) -> str:
    """Return the template of the route, `/jobs/{job_id}`; it has as many values as routes."""
    return getattr(scope.get("route"), "path", None) or NO_ROUTE


def _describe(recorded: Span, method: str, route: str, status: int) -> None:
    if route != NO_ROUTE:
        recorded.rename(f"{method} {route}")
        recorded.put(traces.ROUTE, route)
    if status:
        recorded.put(traces.STATUS, status)
    if status >= 500:
        recorded.fail(str(status))
