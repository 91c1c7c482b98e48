"""Who calls: every request is asked for its key before anything of its body is read.

It is done around the routes and not by them, so that a route that is new asks, too, and nobody
sends a hundred megabytes to hear that a key is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders

from api import errors
from api.errors import Problem, documented
from jobs.model import LOCAL
from jobs.settings import loopback
from jobs.store.api_keys import ALL_SCOPES, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as AsgiScope

    from api.dependencies import Services

PUBLIC = re.compile(r"/|/docs|/openapi\.json|/healthz|/readyz|/page/.*|/files/.*", re.DOTALL)
BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")  # said by a proxy, of its own caller
CHALLENGE = 'Bearer realm="visavis"'
SAFE = ("GET", "HEAD", "OPTIONS")

MISSING = "This needs a key; send it as `Authorization: Bearer vv_…`."
INVALID = "This key is unknown, revoked or expired; ask the operator for another."
SCOPE = "The key 'a1b2c3d4e5f6' may read; this needs a key that may write."
LIMITED = "The key 'a1b2c3d4e5f6' may write 120 times a minute; send this in 12 s."


@dataclass(frozen=True)
class Caller:
    """Whose request this is, and what it may do."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None  # None: nobody asked for a key

    @property
    def sees(self) -> str | None:
        """The tenant whose jobs are there for this caller; None: everybody's."""
        return None if Scope.ADMIN in self.scopes else self.tenant

    def may(self, scope: Scope) -> bool:
        """Whether this is allowed; to an admin everything is."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class AuthMiddleware:
    """ASGI middleware that lets in whoever has a key, and tells the routes who it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or PUBLIC.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        headers: dict[str, str] = {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            caller = request.state.caller = await _admitted(request)
            kind = Scope.READ if request.method in SAFE else Scope.WRITE
            headers |= await _counted(request, caller, kind)
            needed(caller, kind)
        except Problem as problem:
            await errors.told(problem)(scope, receive, send_with_headers)
        except OperationalError as error:
            await errors.database_away(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send_with_headers)


def guarded(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document which routes ask for a key, and how they refuse."""
    for path, methods in document["paths"].items():
        if PUBLIC.fullmatch(path):
            continue
        for operation in methods.values():
            for status, response in refusals().items():
                told = operation["responses"].setdefault(str(status), response)
                examples = told["content"][errors.CONTENT_TYPE]["examples"]
                examples |= response["content"][errors.CONTENT_TYPE]["examples"]


def refusals() -> Mapping[int | str, dict[str, Any]]:
    """What every route that asks for a key may answer."""
    return documented(
        (401, "key_missing", MISSING),
        (401, "key_invalid", INVALID),
        (403, "scope_missing", SCOPE),
        (429, "rate_limited", LIMITED),
        (503, "database_unavailable", "The database does not answer just now."),
    )


def needed(caller: Caller, scope: Scope) -> None:
    """Problem where the caller may not do what asks for this scope."""
    if not caller.may(scope):
        has = " and ".join(sorted(caller.scopes))
        sentence = f"The key {caller.key_id!r} may {has}; this needs one that may {scope}."
        raise Problem(403, "scope_missing", sentence)


async def _admitted(request: Request) -> Caller:
    services: Services = request.app.state.services
    sent = BEARER.fullmatch(request.headers.get("authorization", "").strip())
    if sent is None:
        if _at_home(request, services):
            return Caller(LOCAL, ALL_SCOPES, None)
        raise Problem(401, "key_missing", MISSING, headers={"WWW-Authenticate": CHALLENGE})
    key = await run_in_threadpool(services.database.api_keys.authenticate, sent[1])
    if key is None:
        challenge = f'{CHALLENGE}, error="invalid_token"'
        raise Problem(401, "key_invalid", INVALID, headers={"WWW-Authenticate": challenge})
    return Caller(key.tenant, key.scopes, key.id)


async def _counted(request: Request, caller: Caller, kind: Scope) -> dict[str, str]:
    """Headers that tell what is left of the key's requests; Problem where nothing is.

    Who needs no key is on this machine, and is not counted.
    """
    services: Services = request.app.state.services
    if caller.key_id is None:
        return {}
    left = await run_in_threadpool(services.rates.take, caller.key_id, kind)
    if left is None:
        return {}
    if left.spent:
        sentence = (
            f"The key {caller.key_id!r} may {kind} {left.limit} times a minute; send this in "
            f"{left.reset_seconds} s."
        )
        wait = {"Retry-After": str(left.reset_seconds)}
        raise Problem(429, "rate_limited", sentence, headers=left.headers() | wait)
    return left.headers()


def _at_home(request: Request, services: Services) -> bool:
    """Whether the caller is on this machine, and that is enough.

    What was set is not taken on trust: `uvicorn --host` may say another address, and a proxy on
    this machine speaks for others. Whoever runs one that says nothing sets VISAVIS_ACCESS.
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
                scheme_name="key",
                description="A key as `visavis-server keys create` shows it. Not needed where the "
                "service is reached on its own machine only.",
                auto_error=False,
            )
        ),
    ],
) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
