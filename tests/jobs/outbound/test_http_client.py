"""HTTP client for URLs from callers: checked addresses, TLS, limits of time and size."""

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpcore
import pytest

from jobs.outbound.http_client import (
    NoResponse,
    OutboundClient,
    OutboundError,
    UnusableResponse,
    UrlRefused,
    open_outbound,
)
from jobs.outbound.url_policy import PUBLIC_ONLY, AllowList, parse_allowed
from jobs.settings import Settings
from tests.webhook_receiver import HOST, Receiver, receiving

LOOPBACK = parse_allowed(["127.0.0.0/8"])
LONG = 30.0  # seconds, for requests that end by themselves


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("receiver")) as running:
        yield running


@pytest.fixture(autouse=True)
def forgotten(receiver: Receiver) -> None:
    receiver.received.clear()
    receiver.answers.clear()
    receiver.headers.clear()


class Names:
    """A resolver that returns the given answers in turn and records the hosts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.hosts: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.hosts.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def outbound(
    receiver: Receiver,
    names: Names | None = None,
    *,
    allowed: AllowList = LOOPBACK,
    seconds: float = LONG,
) -> OutboundClient:
    tls = ssl.create_default_context(cafile=receiver.ca)
    return OutboundClient(
        tls, allowed=allowed, resolve=names or Names(["127.0.0.1"]), seconds=seconds
    )


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def refused(work: Coroutine[Any, Any, Any]) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        asyncio.run(work)
    return caught.value


def test_a_body_is_posted_to_the_host_and_the_response_returned(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"])
    url = receiver.url("/hook?a=1", HOST)

    answer = run(outbound(receiver, names).post(url, b"[1]", {"x-word": "hello"}))

    (got,) = receiver.received
    assert (got.method, got.path, got.body) == ("POST", "/hook?a=1", b"[1]")
    assert got.headers["host"] == f"{HOST}:{receiver.port}"
    assert got.headers["x-word"] == "hello"
    assert (answer.status, answer.excerpt, answer.retry_after) == (200, "thank you", None)
    assert answer.milliseconds > 0
    assert names.hosts == [HOST]


def test_a_response_of_any_status_is_returned(receiver: Receiver) -> None:
    receiver.answers["/hook"] = [503]
    receiver.headers["Retry-After"] = "7"

    answer = run(outbound(receiver).post(receiver.url(), b"", {}))

    assert (answer.status, answer.excerpt, answer.retry_after) == (503, "no, sorry", "7")


def test_dns_rebinding_has_no_effect(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is public first, then loopback; only the checked address is connected to."""
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    dialled: list[str] = []

    async def dial(_self: object, host: str, *_: object) -> httpcore.AsyncNetworkStream:
        dialled.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", dial)
    sender = outbound(receiver, names, allowed=PUBLIC_ONLY)

    assert isinstance(refused(sender.post(receiver.url(host=HOST), b"", {})), NoResponse)
    assert (dialled, names.hosts) == (["93.184.216.34"], [HOST])
    assert isinstance(refused(sender.post(receiver.url(host=HOST), b"", {})), UrlRefused)
    assert dialled == ["93.184.216.34"]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["93.184.216.34", "8.8.8.8", "10.0.0.1"],
        ["2606:4700::1111", "::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        ["169.254.169.254"],
        ["nowhere"],
    ],
)
def test_one_forbidden_address_forbids_the_host(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    async def dial(_self: object, host: str, *_: object) -> httpcore.AsyncNetworkStream:
        raise AssertionError(f"dialled {host}")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", dial)
    sender = outbound(receiver, Names(addresses), allowed=PUBLIC_ONLY)

    error = refused(sender.post("https://hooks.example/", b"", {}))

    assert isinstance(error, UrlRefused)
    assert not any(
        address in str(error) for address in addresses
    )  # the error does not reveal addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"])
def test_loopback_is_forbidden_in_every_spelling(receiver: Receiver, host: str) -> None:
    sender = outbound(receiver, allowed=PUBLIC_ONLY)

    assert isinstance(refused(sender.post(receiver.url(host=host), b"", {})), UrlRefused)
    with pytest.raises(UrlRefused):
        sender.check_url(receiver.url(host=host))
    assert receiver.received == []


def test_an_allowed_host_is_reached(receiver: Receiver) -> None:
    by_name = outbound(receiver, allowed=parse_allowed([HOST]))

    assert run(by_name.post(receiver.url(host=HOST), b"", {})).status == 200
    assert isinstance(refused(by_name.post(receiver.url(), b"", {})), UrlRefused)


def test_the_next_address_is_tried_when_one_accepts_no_connection(receiver: Receiver) -> None:
    names = Names(["127.99.99.99", "127.0.0.1"])  # the receiver listens on the second only

    assert run(outbound(receiver, names).post(receiver.url(host=HOST), b"", {})).status == 200


def test_a_redirect_is_returned_and_not_followed(receiver: Receiver) -> None:
    answer = run(outbound(receiver).post(receiver.url("/redirect"), b"", {}))

    assert answer.status == 302
    assert [got.path for got in receiver.received] == ["/redirect"]


def test_the_host_has_to_be_in_the_certificate(receiver: Receiver) -> None:
    error = refused(outbound(receiver).post(receiver.url(host="other.example"), b"", {}))

    assert "certificate of other.example is not accepted" in str(error)
    assert receiver.received == []


def test_a_certificate_of_an_unknown_authority_is_rejected(receiver: Receiver) -> None:
    plain = OutboundClient(ssl.create_default_context(), allowed=LOOPBACK)

    assert "is not accepted" in str(refused(plain.post(receiver.url(), b"", {})))


def test_proxies_of_the_environment_are_ignored(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert run(outbound(receiver).post(receiver.url(), b"", {})).status == 200


@pytest.mark.parametrize("path", ["/stall", "/redirect"])
def test_the_error_names_an_unknown_host(receiver: Receiver, path: str) -> None:
    sender = outbound(receiver, Names([]))

    assert "nobody.example" in str(refused(sender.post(f"https://nobody.example{path}", b"", {})))


def test_the_resolver_of_the_system_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(cafile=receiver.ca)
    sender = OutboundClient(tls, allowed=parse_allowed(["localhost"]))

    error = refused(sender.post(receiver.url(host="localhost"), b"", {}))
    assert "certificate of localhost" in str(error)  # it was resolved and connected to

    def knows_nobody(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "nobody")

    monkeypatch.setattr(socket, "getaddrinfo", knows_nobody)
    error = refused(sender.post("https://nobody.invalid/", b"", {}))
    assert "nobody.invalid is unknown to DNS" in str(error)


def test_a_stalled_resolver_ends_with_the_timeout(receiver: Receiver) -> None:
    async def stall(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(3600)
        return []

    tls = ssl.create_default_context(cafile=receiver.ca)
    sender = OutboundClient(tls, resolve=stall, seconds=0.2)

    assert "within 0.2 s" in str(refused(sender.post("https://a.example/", b"", {})))


def test_a_silent_server_ends_with_the_timeout(receiver: Receiver) -> None:
    error = refused(outbound(receiver, seconds=0.5).post(receiver.url("/stall"), b"", {}))

    assert isinstance(error, NoResponse)
    assert "within 0.5 s" in str(error)


def test_the_start_of_an_endless_response_is_read(receiver: Receiver) -> None:
    answer = run(outbound(receiver).post(receiver.url("/endless"), b"", {}))

    assert answer.status == 200


def test_a_slow_response_ends_with_the_timeout(receiver: Receiver, tmp_path: Path) -> None:
    """Every read succeeds at once, but the response never ends."""
    sender = outbound(receiver)
    fetching = sender.fetch(
        receiver.url("/drip"), tmp_path / "f", most_bytes=10_000_000, seconds=0.7
    )

    assert "within 0.7 s" in str(refused(fetching))
    assert not (tmp_path / "f").exists()


def test_a_file_is_downloaded(receiver: Receiver, tmp_path: Path) -> None:
    receiver.headers["Content-Type"] = "audio/wav"
    path = tmp_path / "f"

    got = run(outbound(receiver).fetch(receiver.url("/a.wav"), path, most_bytes=9, seconds=LONG))

    assert path.read_bytes() == b"thank\x00you"
    assert (got.bytes, got.content_type) == (9, "audio/wav")
    assert [got.method for got in receiver.received] == ["GET"]


@pytest.mark.parametrize(
    ("route", "status", "words"),
    [
        ("/a.wav", 404, "the response has status 404, not 200"),
        ("/redirect", 200, "redirects are not followed"),
        ("/a.wav", 200, "the file has 9 bytes, more than 8"),
        ("/endless", 200, "the file has more than 8 bytes"),
    ],
)
def test_a_missing_or_too_large_file_leaves_no_file(
    receiver: Receiver, tmp_path: Path, route: str, status: int, words: str
) -> None:
    receiver.answers[route] = [status]
    path = tmp_path / "f"

    error = refused(outbound(receiver).fetch(receiver.url(route), path, most_bytes=8, seconds=LONG))

    assert isinstance(error, UnusableResponse)
    assert words in str(error)
    assert not path.exists()


def test_settings_allow_networks_and_add_certificates(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_DATA", str(tmp_path))
    monkeypatch.setenv("VISAVIS_OUTBOUND_ALLOW", "10.0.0.0/8, 127.0.0.1")
    monkeypatch.setenv("VISAVIS_OUTBOUND_CA", str(receiver.ca))

    assert run(open_outbound(Settings()).post(receiver.url(), b"", {})).status == 200
    assert Settings().outbound_allow == ("10.0.0.0/8", "127.0.0.1")
