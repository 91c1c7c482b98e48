"""Authentication by API key and rate limits, checked before a request's body is read.

A middleware covers new routes by default, and it refuses an invalid key before a caller has sent a
hundred megabytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders

from api import errors
from api.bounds.gates import Gates
from api.problems import Problem, document_problems
from jobs.model import LOCAL
from jobs.settings import loopback
from jobs.store.api_keys import ALL_SCOPES, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as AsgiScope

    from api.dependencies import Services
    from api.rate_limits import Allowance
    from jobs.store.api_keys import ApiKey

PUBLIC = re.compile(
    r"/|/docs(?:/.+\.md)?|/llms\.txt|/openapi\.json|/healthz|/readyz|/page/.*|/files/.*"
    r"|/people/[^/]+/[^/]+",
    re.DOTALL,
)
BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")  # set by a proxy for its caller
CHALLENGE = 'Bearer realm="visavis"'
AT_ONCE = 4  # requests of one key that are authenticated at a time
DETECT = "/detect"  # may be open to everybody
ANYBODY = "anybody"
SAFE = ("GET", "HEAD", "OPTIONS")
SCHEME = "bearer"  # name of the security scheme in the OpenAPI document
RATE_LIMIT_HEADERS: Mapping[str, Any] = {
    f"RateLimit-{name}": {"description": text, "schema": {"type": "integer"}}
    for name, text in (
        ("Limit", "Requests of this kind (read or write) that the key may send in a minute."),
        ("Remaining", "Requests that are left."),
        ("Reset", "Seconds until the next one is available."),
    )
}
PROBLEMS = ("key_missing", "key_invalid", "scope_missing", "rate_limited", "database_unavailable")


@dataclass(frozen=True)
class Caller:
    """Tenant and scopes of a request."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None  # None: a local caller without a key

    @property
    def sees(self) -> str | None:
        """The tenant whose jobs this caller may see; None: all tenants."""
        return None if Scope.ADMIN in self.scopes else self.tenant

    def log_fields(self) -> dict[str, str]:
        """Return tenant and key for log lines; local callers have no key."""
        key = {} if self.key_id is None else {"key": self.key_id}
        return {"tenant": self.tenant, **key}

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has this scope; an admin has every scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class AuthMiddleware:
    """ASGI middleware that authenticates callers and sets `request.state.caller`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._gates = Gates(AT_ONCE)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or PUBLIC.fullmatch(path_of(scope)):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        headers: dict[str, str] = {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            kind = Scope.READ if request.method in SAFE else Scope.WRITE
            async with self._gates.of(request.headers.get("authorization", "")):
                caller, allowance = await _admitted(request, kind)
            request.state.caller = caller
            if allowance is not None:
                headers |= allowance.headers()
                _check_rate(caller, kind, allowance)
            require_scope(caller, kind)
        except Problem as problem:
            await problem.response()(scope, receive, send_with_headers)
        except OperationalError as error:
            await errors.database_unavailable(error)(scope, receive, send)
        else:
            with structlog.contextvars.bound_contextvars(**caller.log_fields()):
                await self._app(scope, receive, send_with_headers)


def path_of(scope: AsgiScope) -> str:
    """The path of a request without the prefix of a proxy, which servers pass as `root_path`."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path


def document_authentication(document: dict[str, Any], *, keys_needed: bool) -> None:
    """Add keys, rate limits and the problems of this middleware to an OpenAPI document.

    Where callers need no key, a key is optional and rate limits are left out.
    """
    limits = {name: {"$ref": f"#/components/headers/{name}"} for name in RATE_LIMIT_HEADERS}
    if keys_needed:
        document["components"].setdefault("headers", {}).update(RATE_LIMIT_HEADERS)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if PUBLIC.fullmatch(path):
                operation["security"] = []
                continue
            operation["security"] = [{SCHEME: []}] if keys_needed else [{SCHEME: []}, {}]
            document_problems(operation, *PROBLEMS)
            challenge = {"description": "Scheme of keys.", "schema": {"type": "string"}}
            operation["responses"]["401"]["headers"] = {"WWW-Authenticate": challenge}
            if keys_needed:
                for response in operation["responses"].values():
                    response["headers"] = limits | response.get("headers", {})


def require_scope(caller: Caller, scope: Scope) -> None:
    """Check that the caller has a scope.

    Raises:
        Problem: when it does not.
    """
    if not caller.may(scope):
        scopes = " and ".join(sorted(caller.scopes))
        detail = f"Key {caller.key_id!r} has {scopes} access; this request needs {scope} access."
        raise Problem("scope_missing", detail)


async def require_active(caller: Caller, services: Services) -> None:
    """Check that the key is still active, after a body that took a while.

    Raises:
        Problem: when it was revoked or has expired.
    """
    if caller.key_id is None:
        return
    active = await run_in_threadpool(services.database.api_keys.active_of, [caller.key_id])
    if not active:
        raise Problem("key_invalid")


async def _admitted(request: Request, kind: Scope) -> tuple[Caller, Allowance | None]:
    """Authenticate the caller and count the request, in one visit of a thread.

    Local callers without a key have no rate limit.

    Raises:
        Problem: without a valid key.
    """
    services: Services = request.app.state.services
    token = BEARER.fullmatch(request.headers.get("authorization", "").strip())
    if token is None:
        if _is_local(request, services):
            return Caller(LOCAL, ALL_SCOPES, None), None
        if path_of(request.scope) == DETECT and services.settings.detect == "open":
            anybody = Caller("", frozenset({Scope.WRITE}), ANYBODY)  # all share one rate limit
            take = partial(services.rate_limits.take, ANYBODY, kind)
            return anybody, await run_in_threadpool(take)
        raise Problem("key_missing", headers={"WWW-Authenticate": CHALLENGE})

    def admit() -> tuple[ApiKey, Allowance | None] | None:
        key = services.database.api_keys.authenticate(token[1])
        return None if key is None else (key, services.rate_limits.take(key.id, kind))

    admitted = await run_in_threadpool(admit)
    if admitted is None:
        challenge = f'{CHALLENGE}, error="invalid_token"'
        raise Problem("key_invalid", headers={"WWW-Authenticate": challenge})
    key, allowance = admitted
    return Caller(key.tenant, key.scopes, key.id), allowance


def _check_rate(caller: Caller, kind: Scope, allowance: Allowance) -> None:
    """Check that a request is within the rate limit of its key.

    Raises:
        Problem: when it is not.
    """
    if allowance.exceeded:
        detail = (
            f"Rate limit of key {caller.key_id!r} reached: {allowance.limit} {kind} requests a "
            f"minute; retry in {allowance.reset_seconds} s."
        )
        wait = {"Retry-After": str(allowance.reset_seconds)}
        raise Problem("rate_limited", detail, headers=allowance.headers() | wait)


def _is_local(request: Request, services: Services) -> bool:
    """Return whether the caller is on this machine and needs no key.

    The settings alone do not decide: `uvicorn --host` may bind another address, and a proxy on this
    machine forwards requests of others. Behind a proxy without forwarding headers, set
    VISAVIS_ACCESS.
    """
    if services.settings.keys_needed or any(name in request.headers for name in FORWARDED):
        return False
    server = request.scope.get("server")
    return server is not None and loopback(server[0])


async def _caller(
    request: Request,
    _key: Annotated[
        object,
        Depends(
            HTTPBearer(
                scheme_name=SCHEME,
                description="A key from `visavis-server keys create`. Not needed when the service "
                "is reachable from its own machine only.",
                auto_error=False,
            )
        ),
    ],
) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
