"""URL policy against server-side request forgery: allowed URLs and IP addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

import idna

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST = 2048  # characters of a URL
PLAIN_PORT = 443
LOWEST_PORT = 1024  # of other ports; services below it speak other protocols

VISIBLE = re.compile(r"[\x21-\x7e]*")
WRITTEN = re.compile(r"https://([^/?#\\]*)(/[^?#\\]*)?(\?[^#\\]*)?", re.IGNORECASE)
AUTHORITY = re.compile(r"(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # some resolvers read such a last label as an address
NEVER_PUBLIC = ("localhost", "local", "internal", "home.arpa")

# Ranges of IANA's special-purpose registries (RFC 6890 and later) that are not the public internet;
# of IPv6 only 2000::/3 is public. They are listed because `is_global` differs between Pythons.
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
    ("link-local", ("169.254.0.0/16", "fe80::/10")),
    ("shared (carrier-grade NAT)", ("100.64.0.0/10",)),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("tunnel", ("192.88.99.0/24", "2001::/32", "2002::/16")),  # relays, Teredo, 6to4
    ("documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")),
    ("documentation", ("3fff::/20",)),
    (
        "cloud platform",
        ("168.63.129.16/32",),
    ),  # of Azure; the ranges above contain those of other clouds
    ("reserved", ("192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "2001::/23")),
)
REFUSED = tuple((kind, ip_network(network)) for kind, ranges in KINDS for network in ranges)
PUBLIC_V6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address in its last 32 bits (RFC 6052)


class OutboundError(Exception):
    """An outgoing request failed; the message contains the reason."""


class UrlRefused(OutboundError):
    """The policy forbids the URL or its address."""


@dataclass(frozen=True)
class Target:
    """A URL, parsed once, so the checked host is the one that is connected to."""

    host: str  # an ASCII name in lower case, or an address without brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """Return host and port in the form of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PLAIN_PORT else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the normalised URL: ASCII, one spelling per host."""
        return f"https://{self.authority}{self.path}"


@dataclass(frozen=True)
class AllowList:
    """Networks and hosts that an operator allows in addition to the public internet."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    def includes(self, host: str, address: Address) -> bool:
        """Return whether `host` may have this address although it is not public."""
        return host in self.hosts or any(address in network for network in self.networks)


PUBLIC_ONLY = AllowList()


def parse_allowed(entries: Iterable[str]) -> AllowList:
    """Parse networks ("10.1.0.0/16"), addresses and host names.

    Raises: ValueError: when an entry is none of these.
    """
    networks: list[Network] = []
    hosts: set[str] = set()
    for entry in entries:
        try:
            networks.append(ip_network(entry))
        except ValueError:
            if not _is_name(entry.lower()):
                raise ValueError(f"{entry!r}: neither a network nor a host name") from None
            hosts.add(entry.lower())
    return AllowList(tuple(networks), frozenset(hosts))


def parse_target(url: str, allowed: AllowList = PUBLIC_ONLY) -> Target:
    """Parse a URL and check what can be checked without DNS.

    `check_address` checks the addresses of a host name at the connection.

    Raises: UrlRefused: when the policy forbids the URL.
    """
    if len(url) > LONGEST:
        raise UrlRefused(f"the URL is {len(url)} characters long; at most {LONGEST} are allowed")
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        raise UrlRefused("the URL contains a space or a control character")
    if (parsed := WRITTEN.fullmatch(url)) is None:
        raise UrlRefused(_malformed(url))
    authority, path, query = parsed[1], parsed[2] or "/", parsed[3] or ""
    if VISIBLE.fullmatch(path + query) is None:
        raise UrlRefused(
            "the URL contains characters after the host that are not ASCII; percent-encode them"
        )
    if "@" in authority:
        raise UrlRefused("the URL contains a user name or a password; remove them")
    if (parts := AUTHORITY.fullmatch(authority)) is None:
        raise UrlRefused(f"the URL has an invalid host ({authority[:80]!r})")
    host, port = _host(parts[1], allowed), int(parts[2] or PLAIN_PORT)
    if port != PLAIN_PORT and not LOWEST_PORT <= port <= 65535:
        raise UrlRefused(f"the URL has port {port}; use {PLAIN_PORT} or {LOWEST_PORT} to 65535")
    target = Target(host, port, path + query)
    if len(target.url) > LONGEST:  # the encoding of a host that is not ASCII is longer
        raise UrlRefused(
            f"the URL is {len(target.url)} characters long; at most {LONGEST} are allowed"
        )
    return target


def check_address(host: str, written: str, allowed: AllowList = PUBLIC_ONLY) -> Address:
    """Return the address to connect to, given an address of `host`.

    Raises: UrlRefused: when the address is invalid or not public.
    """
    try:
        address = ip_address(written)
    except ValueError:
        raise UrlRefused(f"the host {host} has an invalid address") from None
    inner = _inner(address)
    opened = allowed.includes(host, address) or allowed.includes(host, inner)
    if not opened and (kind := _refused_kind(inner)):
        raise UrlRefused(f"the host {host} is not on the public internet: {kind}")
    return address if address in NAT64 else inner


def _malformed(url: str) -> str:
    if not url.lower().startswith("https://"):
        return "the URL does not begin with https://"
    if "#" in url:
        return "the URL has a fragment (#...); remove it"
    return "the URL contains a backslash"


def _host(written: str, allowed: AllowList) -> str:
    """Return the normalised host."""
    if written.startswith("["):
        return _literal(written[1:-1], IPv6Address, allowed)
    try:
        host = written.lower() if written.isascii() else idna.encode(written, uts46=True).decode()
    except idna.IDNAError:
        raise UrlRefused(f"the URL has an invalid host name ({written[:80]!r})") from None
    if NUMBER.fullmatch(host.rpartition(".")[2]):
        return _literal(host, IPv4Address, allowed)
    if not _is_name(host):
        raise UrlRefused(f"the URL has an invalid host name ({written[:80]!r})")
    if host not in allowed.hosts and _is_never_public(host):
        raise UrlRefused(f"the host {host} is not on the public internet")
    return host


def _literal(written: str, kind: type[IPv4Address] | type[IPv6Address], allowed: AllowList) -> str:
    try:
        address = kind(written)
    except ValueError:
        raise UrlRefused(
            f"the URL has an invalid address ({written[:80]!r}); write IPv4 as four decimal numbers"
        ) from None
    return str(check_address(str(address), str(address), allowed))


def _is_name(host: str) -> bool:
    return len(host) <= 253 and all(LABEL.fullmatch(label) for label in host.split("."))


def _is_never_public(host: str) -> bool:
    return "." not in host or any(host.endswith(f".{domain}") for domain in NEVER_PUBLIC)


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address embeds, otherwise the address."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address


def _refused_kind(address: Address) -> str | None:
    for kind, network in REFUSED:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in PUBLIC_V6:
        return "reserved"
    return None
