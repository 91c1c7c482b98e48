"""Rules for browsers: which hosts are answered and which origins may write.

A browser sends requests of any page to any address, also to a service on loopback that is meant for
its owner alone. So writes from pages of other origins are refused, and without API keys only host
names that cannot be rebound to loopback are answered.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from api.problems import document_problems, problem_response

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from jobs.settings import Settings

READS = ("GET", "HEAD", "OPTIONS")
FOREIGN_SITES = ("cross-site", "same-site")  # another port of this host is the same site
# Response headers that scripts of other origins may read.
EXPOSED_HEADERS = (
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
REQUEST_HEADERS = (
    "Authorization",
    "Cancel-After",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "X-Request-ID",
)


class CrossOriginMiddleware:
    """ASGI middleware that refuses unknown hosts, and writes from other origins."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._allowed = {each.lower() for each in settings.cors_origins}
        public = urlsplit(settings.public_url)
        self._names = {settings.host.lower(), (public.hostname or "").lower()}
        if public.netloc:
            self._allowed.add(f"{public.scheme}://{public.netloc}".lower())
        self._checks_host = not settings.keys_needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = _host_name(host)
        if self._checks_host and name and name not in self._names and not _is_loopback(name):
            detail = (
                f"Unknown host {name[:80]!r}: this service answers to localhost; set "
                "VISAVIS_PUBLIC_URL to the address that callers use."
            )
            return problem_response("host_unknown", detail)
        if scope["method"] in READS:
            return None
        origin = headers.get("origin", "").lower()
        if origin in self._allowed or not _is_foreign(headers, origin, host):
            return None
        detail = (
            f"Pages of {origin[:80] or 'another origin'!r} must not write to this service; add the "
            "origin to VISAVIS_CORS_ORIGINS to allow it."
        )
        return problem_response("origin_not_allowed", detail)


def document_cross_origin(document: dict[str, Any]) -> None:
    """Add the problems of this middleware to an OpenAPI document."""
    for methods in document["paths"].values():
        for method, operation in methods.items():
            document_problems(operation, "host_unknown")
            if method.upper() not in READS:
                document_problems(operation, "origin_not_allowed")


def _is_foreign(headers: Headers, origin: str, host: str) -> bool:
    """Return whether the browser reports a page of another origin as the sender."""
    if site := headers.get("sec-fetch-site"):
        return site.lower() in FOREIGN_SITES
    try:
        return origin != "" and urlsplit(origin).netloc != host  # "null" has no host: foreign
    except ValueError:  # no browser sends it
        return True


def _host_name(host: str) -> str:
    """The name in a `Host` header, without port, brackets and trailing dot."""
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
