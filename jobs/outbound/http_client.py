"""Requests to where callers have asked us to go: https, and the public internet only.

A name is looked up once for each request, all that it leads to is checked, and what was checked is
connected to, while TLS verifies the name: a DNS answer that changes in between changes nothing.
Redirects are not followed, proxies of the environment not asked, and everything has an end.
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
    NOTHING_ELSE,
    Allowed,
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

__all__ = ["Answer", "Fetched", "NoAnswer", "Outbound", "OutboundError", "Unfit", "UrlRefused"]

CONNECT_SECONDS = 5.0  # for each address
MOST_ADDRESSES = 4  # of a name, that are tried
EXCERPT_BYTES = 1024
EXCERPT_CHARACTERS = 200
LOOKUPS = threading.BoundedSemaphore(256)  # at the same time


def sentence_of(error: OutboundError) -> str:
    """The fault as its owner reads it."""
    told = str(error)
    return f"{told[0].upper()}{told[1:]}."


class NoAnswer(OutboundError):
    """Nobody answered, or not in time, or not as HTTP over TLS does."""


class Unfit(OutboundError):
    """There was an answer, and it is not what was asked for."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    milliseconds: float
    excerpt: str  # the beginning of the body, as far as it can be printed
    retry_after: str | None  # the header, as it was sent


@dataclass(frozen=True)
class Fetched:
    """A file that was brought here."""

    bytes: int
    content_type: str | None  # as the other side says


async def look_up(host: str, port: int) -> list[str]:
    """What the system's resolver says.

    In a thread of its own that nobody waits for at the end: a resolver may stall for a minute.
    """
    if not LOOKUPS.acquire(blocking=False):
        raise NoAnswer("too many names are being looked up just now")
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str] | None) -> None:
        if found.done():
            return
        if addresses is None:
            found.set_exception(NoAnswer(f"the host {host} is not known to DNS"))
        else:
            found.set_result(addresses)

    def work() -> None:
        addresses = None
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [str(entry[4][0]) for entry in entries]
        except (OSError, UnicodeError):
            addresses = None
        finally:
            LOOKUPS.release()
        with suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(settle, addresses)

    threading.Thread(target=work, name="look-up", daemon=True).start()
    return await found


class Outbound:
    """Sends and fetches. Raises OutboundError, whose sentence begins small and has no full stop."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        allowed: Allowed = NOTHING_ELSE,
        resolve: Resolve = look_up,
        seconds: float = 15.0,
    ) -> None:
        self._tls = tls
        self._allowed = allowed
        self._resolve = resolve
        self._seconds = seconds

    def check_url(self, url: str) -> str:
        """The URL as it will be asked for.

        UrlRefused where it can be seen without asking anybody that we do not go there.
        """
        return parse_target(url, self._allowed).url

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send `body`; any status is an answer."""
        target = parse_target(url, self._allowed)
        began = time.perf_counter()
        async with (
            _within(self._seconds, target),
            self._asking("POST", target, headers=headers, body=body) as response,
        ):
            excerpt = await _excerpt(response)
            return Answer(
                status=response.status,
                milliseconds=round(1000 * (time.perf_counter() - began), 1),
                excerpt=excerpt,
                retry_after=_header(response, b"retry-after"),
            )

    async def fetch(self, url: str, path: Path, *, most_bytes: int, seconds: float) -> Fetched:
        """Bring the file at `url` to `path`, which is not there when that fails.

        Unfit where there is none, or a larger one; NoAnswer where that takes longer than `seconds`.
        """
        target = parse_target(url, self._allowed)
        try:
            async with (
                _within(seconds, target),
                self._asking("GET", target, headers={"accept": "*/*"}) as response,
            ):
                _check_head(response, most_bytes)
                return Fetched(
                    bytes=await _write(response, path, most_bytes),
                    content_type=_header(response, b"content-type"),
                )
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @asynccontextmanager
    async def _asking(
        self, method: str, target: Target, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[httpcore.Response]:
        """One request on a connection of its own."""
        said = {"host": target.authority, "user-agent": "visavis", "connection": "close"}
        if body is not None:
            said["content-length"] = str(len(body))
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
                headers=list((said | dict(headers)).items()),
                content=body,
                extensions={"timeout": {"connect": CONNECT_SECONDS}},
            ) as response,
        ):
            yield response


def open_outbound(settings: Settings) -> Outbound:
    """As `settings` say."""
    import httpx  # for its certificates; 0.1 s

    tls = httpx.create_ssl_context(trust_env=False)
    if settings.outbound_ca is not None:
        tls.load_verify_locations(settings.outbound_ca)
    return Outbound(
        tls, allowed=parse_allowed(settings.outbound_allow), seconds=settings.webhook_seconds
    )


class _Checked(httpcore.AsyncNetworkBackend):
    """Looks a name up, checks what it leads to, and connects to that."""

    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
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
        failed: Exception = NoAnswer(f"the host {host} is not known to DNS")
        for address in (await self._checked(host, port))[:MOST_ADDRESSES]:
            try:
                return await self._plain.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[Address]:
        """All of them, or none: a name with one address that is refused is refused."""
        written = [host] if _is_address(host) else await self._resolve(host, port)
        checked = [check_address(host, each, self._allowed) for each in written]
        return list(dict.fromkeys(checked))


@asynccontextmanager
async def _within(seconds: float, target: Target) -> AsyncIterator[None]:
    """Wall clock for all of it, and every fault as a sentence."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise NoAnswer(f"the host {target.host} did not finish within {seconds:g} s") from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise NoAnswer(_told(error, target.host)) from error


def _told(error: Exception, host: str) -> str:
    if isinstance(error, httpcore.ConnectError):
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"the certificate of {host} is not accepted: {cause.verify_message}"
            if isinstance(cause, ssl.SSLError):
                return f"the host {host} does not speak TLS as we do"
        return f"the host {host} takes no connection"
    if isinstance(error, httpcore.TimeoutException):
        return f"the host {host} takes no connection in time"
    if isinstance(error, httpcore.ProtocolError):
        return f"the host {host} does not answer as HTTP does"
    return f"the host {host} broke the connection off"


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()  # as `parse_target` leaves them


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
        raise Unfit(f"the answer is {response.status}, and redirects are not followed")
    if response.status != 200:
        raise Unfit(f"the answer is {response.status}, not 200")
    length = _header(response, b"content-length") or ""
    if length.isdecimal() and int(length) > most_bytes:
        raise Unfit(f"the file is {length} bytes, more than {most_bytes}")


async def _write(response: httpcore.Response, path: Path, most_bytes: int) -> int:
    written = 0
    with path.open("wb") as file:
        async for chunk in response.aiter_stream():
            written += len(chunk)
            if written > most_bytes:
                raise Unfit(f"the file is more than {most_bytes} bytes")
            await asyncio.to_thread(file.write, chunk)  # a disk may stall
    return written
