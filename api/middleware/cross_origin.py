"""Which web pages may speak to this service.

A browser carries requests of any page to any address, also to a service on loopback that its owner
alone was to reach. So what another page would have written is refused, and where nothing else asks
who is calling, only names that cannot be made to point here are answered.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from api import errors
from api.errors import documented

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from jobs.settings import Settings

READS = ("GET", "HEAD", "OPTIONS")
FROM_ELSEWHERE = ("cross-site", "same-site")  # another port of this host is the same site
HOST = (
    403,
    "host_unknown",
    "This service answers to localhost, not to 'evil.example'; set VISAVIS_PUBLIC_URL to the "
    "address that callers use.",
)
ORIGIN = (
    403,
    "origin_not_allowed",
    "A page of 'https://evil.example' may not write here; name it in VISAVIS_CORS_ORIGINS if it "
    "should.",
)
# What scripts of other origins may read of an answer.
EXPOSED = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
)
SENT = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "X-Request-ID",
)


class Origins:
    """ASGI middleware that refuses what a page of another origin would do to this service."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._written = {each.lower() for each in settings.cors_origins}
        public = urlsplit(settings.public_url)
        self._names = {settings.host.lower(), (public.hostname or "").lower()}
        if public.netloc:
            self._written.add(f"{public.scheme}://{public.netloc}".lower())
        self._guards_names = not settings.keys_needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = _name_in(host)
        if self._guards_names and name and name not in self._names and not _is_loopback(name):
            return errors.answer(HOST[0], HOST[1], HOST[2].replace("evil.example", name[:80]))
        if scope["method"] in READS:
            return None
        origin = headers.get("origin", "").lower()
        if origin in self._written or not _is_foreign(headers, origin, host):
            return None
        told = origin[:80] or "another origin"
        return errors.answer(ORIGIN[0], ORIGIN[1], ORIGIN[2].replace("https://evil.example", told))


def refusals_told(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document how these requests are refused."""
    for methods in document["paths"].values():
        for method, operation in methods.items():
            told = documented(*([HOST] if method.upper() in READS else [HOST, ORIGIN]))[403]
            known = operation["responses"].setdefault("403", told)
            known["content"][errors.CONTENT_TYPE]["examples"] |= told["content"][
                errors.CONTENT_TYPE
            ]["examples"]


def _is_foreign(headers: Headers, origin: str, host: str) -> bool:
    """Whether a browser says that a page of another origin makes this request."""
    if site := headers.get("sec-fetch-site"):
        return site.lower() in FROM_ELSEWHERE
    return origin != "" and urlsplit(origin).netloc != host  # "null" has none, and is foreign


def _name_in(host: str) -> str:
    """The name in a `Host` header: without its port, brackets and last dot."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return host


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: resolves to loopback only
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
