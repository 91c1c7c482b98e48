"""HTTP client for URLs from callers: https, and addresses of the public internet only.

A host name is resolved once per request, all its addresses are checked, and the connection goes to
a checked address while TLS verifies the name. So a DNS answer that changes in between has no
effect. The client follows no redirects, uses no proxies of the environment, and limits every
request in time and size.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpcore

from jobs.outbound.url_policy import (
    PUBLIC_ONLY,
    AllowList,
    OutboundError,
    Target,
    UrlRefused,
    check_address,
    parse_allowed,
    parse_target,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from jobs.outbound.url_policy import Address
    from jobs.settings import Settings

    Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) -> addresses

__all__ = [
    "Download",
    "NoResponse",
    "OutboundClient",
    "OutboundError",
    "Response",
    "UnusableResponse",
    "UrlRefused",
]

CONNECT_SECONDS = 5.0  # for each address
MOST_ADDRESSES = 4  # tried for one host name
EXCERPT_BYTES = 1024
EXCERPT_CHARACTERS = 200
LOOKUPS = threading.BoundedSemaphore(256)  # concurrent ones


def sentence_of(error: OutboundError) -> str:
    """Return the message as a sentence for callers."""
    message = str(error)
    return f"{message[0].upper()}{message[1:]}."


class NoResponse(OutboundError):
    """No answer, not in time, or not a valid one of HTTP over TLS."""


class UnusableResponse(OutboundError):
    """The response does not have the requested content."""


@dataclass(frozen=True)
class Response:
    """Response to a POST."""

    status: int
    milliseconds: float
    excerpt: str  # printable characters at the start of the body
    retry_after: str | None  # the header, unparsed


@dataclass(frozen=True)
class Download:
    """A downloaded file."""

    bytes: int
    content_type: str | None  # as declared by the server


async def resolve_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host from the system's resolver.

    It runs in a daemon thread, because a resolver can stall for a minute.

    Raises: NoResponse: when the host is unknown or too many lookups are running.
    """
    if not LOOKUPS.acquire(blocking=False):
        raise NoResponse("too many host names are being resolved; try again later")
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str] | None) -> None:
        if result.done():
            return
        if addresses is None:
            result.set_exception(NoResponse(f"the host {host} is unknown to DNS"))
        else:
            result.set_result(addresses)

    def work() -> None:
        addresses = None
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [str(entry[4][0]) for entry in entries]
        except (OSError, UnicodeError):
            addresses = None
        finally:
            LOOKUPS.release()
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(settle, addresses)

    threading.Thread(target=work, name="look-up", daemon=True).start()
    return await result


class OutboundClient:
    """HTTP client for URLs from callers.

    Its methods raise `OutboundError`; the message starts in lower case and has no full stop.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        allowed: AllowList = PUBLIC_ONLY,
        resolve: Resolve = resolve_host,
        seconds: float = 15.0,
    ) -> None:
        self._tls = tls
        self._allowed = allowed
        self._resolve = resolve
        self._seconds = seconds

    def check_url(self, url: str) -> str:
        """Return the normalised URL. This sends nothing, not even a DNS query.

        Raises: UrlRefused: when the policy forbids the URL.
        """
        return parse_target(url, self._allowed).url

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send `body` and return the response, whatever its status."""
        target = parse_target(url, self._allowed)
        began = time.perf_counter()
        async with (
            _within(self._seconds, target),
            self._request("POST", target, headers=headers, body=body) as response,
        ):
            excerpt = await _excerpt(response)
            return Response(
                status=response.status,
                milliseconds=round(1000 * (time.perf_counter() - began), 1),
                excerpt=excerpt,
                retry_after=_header(response, b"retry-after"),
            )

    async def fetch(self, url: str, path: Path, *, most_bytes: int, seconds: float) -> Download:
        """Download the file at `url` to `path`; on failure `path` does not exist.

        Raises:
            UnusableResponse: when the response is not a file of at most `most_bytes`.
            NoResponse: when the host does not answer or the download exceeds `seconds`.
        """
        target = parse_target(url, self._allowed)
        try:
            async with (
                _within(seconds, target),
                self._request("GET", target, headers={"accept": "*/*"}) as response,
            ):
                _check_head(response, most_bytes)
                return Download(
                    bytes=await _write(response, path, most_bytes),
                    content_type=_header(response, b"content-type"),
                )
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @asynccontextmanager
    async def _request(
        self, method: str, target: Target, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[httpcore.Response]:
        """Send one request on a new connection."""
        own_headers = {"host": target.authority, "user-agent": "visavis", "connection": "close"}
        if body is not None:
            own_headers["content-length"] = str(len(body))
        origin = httpcore.Origin(b"https", target.host.encode("ascii"), target.port)
        url = httpcore.URL(
            scheme=b"https", host=origin.host, port=origin.port, target=target.path.encode("ascii")
        )
        backend = _Checked(self._allowed, self._resolve)
        connection = httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._tls, network_backend=backend
        )
        async with (
            connection,
            connection.stream(
                method,
                url,
                headers=list((own_headers | dict(headers)).items()),
                content=body,
                extensions={"timeout": {"connect": CONNECT_SECONDS}},
            ) as response,
        ):
            yield response


def open_outbound(settings: Settings) -> OutboundClient:
    """Return the client that the settings describe."""
    import httpx  # takes 0.1 s; only its CA certificates are needed

    tls = httpx.create_ssl_context(trust_env=False)
    if settings.outbound_ca is not None:
        tls.load_verify_locations(settings.outbound_ca)
    return OutboundClient(
        tls, allowed=parse_allowed(settings.outbound_allow), seconds=settings.webhook_seconds
    )


class _Checked(httpcore.AsyncNetworkBackend):
    """Network backend that resolves a host, checks its addresses and connects to one of them."""

    def __init__(self, allowed: AllowList, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = NoResponse(f"the host {host} is unknown to DNS")
        for address in (await self._checked(host, port))[:MOST_ADDRESSES]:
            try:
                return await self._plain.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[Address]:
        """Return all addresses of the host; one forbidden address forbids the host."""
        found = [host] if _is_address(host) else await self._resolve(host, port)
        checked = [check_address(host, each, self._allowed) for each in found]
        return list(dict.fromkeys(checked))


@asynccontextmanager
async def _within(seconds: float, target: Target) -> AsyncIterator[None]:
    """Limit the whole request in time and turn network errors into `NoResponse`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise NoResponse(f"the host {target.host} did not finish within {seconds:g} s") from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise NoResponse(_message(error, target.host)) from error


def _message(error: Exception, host: str) -> str:
    if isinstance(error, httpcore.ConnectError):
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"the certificate of {host} is not accepted: {cause.verify_message}"
            if isinstance(cause, ssl.SSLError):
                return f"the TLS handshake with {host} failed"
        return f"the host {host} accepts no connection"
    if isinstance(error, httpcore.TimeoutException):
        return f"the host {host} accepts no connection in time"
    if isinstance(error, httpcore.ProtocolError):
        return f"the host {host} sends no valid HTTP response"
    return f"the host {host} closed the connection"


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()  # in the form of `parse_target`


def _header(response: httpcore.Response, name: bytes) -> str | None:
    for each, value in response.headers:
        if each.lower() == name:
            return value.decode("latin-1")[:200]
    return None


async def _excerpt(response: httpcore.Response) -> str:
    body = b""
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) >= EXCERPT_BYTES:
            break
    text = body[:EXCERPT_BYTES].decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()[:EXCERPT_CHARACTERS]


def _check_head(response: httpcore.Response, most_bytes: int) -> None:
    if 300 <= response.status < 400:
        raise UnusableResponse(
            f"the response has status {response.status}; redirects are not followed"
        )
    if response.status != 200:
        raise UnusableResponse(f"the response has status {response.status}, not 200")
    length = _header(response, b"content-length") or ""
    if length.isdecimal() and int(length) > most_bytes:
        raise UnusableResponse(f"the file has {length} bytes, more than {most_bytes}")


async def _write(response: httpcore.Response, path: Path, most_bytes: int) -> int:
    written = 0
    with path.open("wb") as file:
        async for chunk in response.aiter_stream():
            written += len(chunk)
            if written > most_bytes:
                raise UnusableResponse(f"the file has more than {most_bytes} bytes")
            await asyncio.to_thread(file.write, chunk)  # a disk can stall
    return written
