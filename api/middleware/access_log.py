"""Access log, request ids and security headers of every response."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from api import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from jobs.settings import Settings

logger = logging.getLogger("api.middleware.access_log")

LOCATION = re.compile(r"/(job|batch|upload)e?s/([^/]+)")
DISCONNECTED = 499  # in the log only, as other servers write it
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
YEAR_SECONDS = 365 * 24 * 3600
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # responses contain private recordings and jobs
}


def security_headers(settings: Settings) -> Mapping[str, str]:
    """Default headers of every response; a route may set its own value."""
    # Pages of other origins that may call the API may also embed its videos.
    headers = SECURITY_HEADERS | {
        "Cross-Origin-Resource-Policy": "cross-origin" if settings.cors_origins else "same-origin"
    }
    if settings.public_url.lower().startswith("https://"):
        headers["Strict-Transport-Security"] = f"max-age={YEAR_SECONDS}"
    return headers


def document_request_ids(document: dict[str, Any]) -> None:
    """Add the id of the request to every response of an OpenAPI document."""
    document["components"].setdefault("headers", {})["X-Request-ID"] = {
        "description": "Id of the request in the server's log; that of the request's header "
        "`X-Request-ID`, if it has one.",
        "schema": {"type": "string"},
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                reference = {"$ref": "#/components/headers/X-Request-ID"}
                response.setdefault("headers", {})["X-Request-ID"] = reference


class AccessLogMiddleware:
    """ASGI middleware around those that may fail: internal errors get an id and a log line, too."""

    def __init__(self, app: ASGIApp, *, headers: Mapping[str, str]) -> None:
        """headers: defaults for every response."""
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, location = 0, ""
        start = time.perf_counter()
        request_id = _request_id(Headers(scope=scope).get("x-request-id", ""))

        async def send_with_headers(message: Message) -> None:
            nonlocal status, location
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                location = headers.get("Location", "")
                headers["X-Request-ID"] = request_id
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except ClientDisconnect:  # in the middle of its body: nobody waits for a response
                status = status or DISCONNECTED
            except Exception as error:
                with structlog.contextvars.bound_contextvars(**_caller_facts(scope)):
                    response = errors.internal_error(error)
                if status:  # the response has started and can only be cut off
                    raise
                await response(scope, receive, send_with_headers)
            finally:
                facts = {
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round(1000 * (time.perf_counter() - start), 1),
                }
                logger.info("request", extra=facts | _caller_facts(scope) | _made(location))


def _caller_facts(scope: Scope) -> dict[str, str]:
    """Tenant and key of an authenticated caller."""
    caller = scope.get("state", {}).get("caller")
    return {} if caller is None else caller.log_fields()


def _made(location: str) -> dict[str, str]:
    """Id of the job, batch or upload that the request made, which `Location` names."""
    match = LOCATION.fullmatch(location)
    return {} if match is None else {match[1]: match[2]}


def _request_id(header: str) -> str:
    return header if REQUEST_ID.fullmatch(header) else uuid.uuid4().hex
