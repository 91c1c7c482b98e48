"""Where a request that a caller has asked for may go: which URLs, and which addresses."""

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
LOWEST_PORT = 1024  # of the others: what listens below speaks something else

VISIBLE = re.compile(r"[\x21-\x7e]*")
WRITTEN = re.compile(r"https://([^/?#\\]*)(/[^?#\\]*)?(\?[^#\\]*)?", re.IGNORECASE)
AUTHORITY = re.compile(r"(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label that some resolvers read as an address
NEVER_PUBLIC = ("localhost", "local", "internal", "home.arpa")

# The special-purpose registries of IANA (RFC 6890 and after), as far as they are not the public
# internet; of IPv6 only 2000::/3 is. Written out: what `is_global` says differs between Pythons.
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
    ("cloud platform", ("168.63.129.16/32",)),  # of Azure; those of others lie in ranges above
    ("reserved", ("192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "2001::/23")),
)
REFUSED = tuple((kind, ip_network(written)) for kind, ranges in KINDS for written in ranges)
PUBLIC_V6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address in its last 32 bits (RFC 6052)


class OutboundError(Exception):
    """A request of ours to somewhere else that came to nothing; the sentence says why."""


class UrlRefused(OutboundError):
    """We do not go there."""


@dataclass(frozen=True)
class Target:
    """A URL taken apart once: what is checked is what is connected to."""

    host: str  # an ASCII name in small letters, or an address without brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """Host and port as the Host header writes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PLAIN_PORT else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """As it will be asked for: ASCII, and no two spellings of one host."""
        return f"https://{self.authority}{self.path}"


@dataclass(frozen=True)
class Allowed:
    """What an operator has opened beside the public internet."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    def includes(self, host: str, address: Address) -> bool:
        """Whether `host` may lead to this address although it is not public."""
        return host in self.hosts or any(address in network for network in self.networks)


NOTHING_ELSE = Allowed()


def parse_allowed(entries: Iterable[str]) -> Allowed:
    """Networks ("10.1.0.0/16"), addresses and host names. ValueError names what is none."""
    networks: list[Network] = []
    hosts: set[str] = set()
    for entry in entries:
        try:
            networks.append(ip_network(entry))
        except ValueError:
            if not _is_name(entry.lower()):
                raise ValueError(f"{entry!r} is neither a network nor a host name") from None
            hosts.add(entry.lower())
    return Allowed(tuple(networks), frozenset(hosts))


def parse_target(url: str, allowed: Allowed = NOTHING_ELSE) -> Target:
    """Take `url` apart. UrlRefused where it can be seen without asking DNS that we do not go there.

    What a name leads to is checked when it is connected to: `check_address`.
    """
    if len(url) > LONGEST:
        raise UrlRefused(f"the URL is {len(url)} characters long; at most {LONGEST} are taken")
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        raise UrlRefused("the URL has a space or a control character in it")
    if (written := WRITTEN.fullmatch(url)) is None:
        raise UrlRefused(_malformed(url))
    authority, path, query = written[1], written[2] or "/", written[3] or ""
    if VISIBLE.fullmatch(path + query) is None:
        raise UrlRefused(
            "the URL has letters behind the host that are not ASCII; percent-encode them"
        )
    if "@" in authority:
        raise UrlRefused("the URL carries a user name or a password; leave them out")
    if (parts := AUTHORITY.fullmatch(authority)) is None:
        raise UrlRefused(f"the URL has no host that can be read in {authority[:80]!r}")
    host, port = _host(parts[1], allowed), int(parts[2] or PLAIN_PORT)
    if port != PLAIN_PORT and not LOWEST_PORT <= port <= 65535:
        raise UrlRefused(
            f"the URL names port {port}; use {PLAIN_PORT}, or one from {LOWEST_PORT} on"
        )
    target = Target(host, port, path + query)
    if len(target.url) > LONGEST:  # letters of a host that are not ASCII take more
        raise UrlRefused(
            f"the URL is {len(target.url)} characters long; at most {LONGEST} are taken"
        )
    return target


def check_address(host: str, written: str, allowed: Allowed = NOTHING_ELSE) -> Address:
    """The address to connect to, of one that `host` leads to. UrlRefused where it is not public."""
    try:
        address = ip_address(written)
    except ValueError:
        raise UrlRefused(f"the host {host} leads to something that is no address") from None
    inner = _inner(address)
    opened = allowed.includes(host, address) or allowed.includes(host, inner)
    if not opened and (kind := _refused_kind(inner)):
        raise UrlRefused(f"the host {host} is not on the public internet: {kind}")
    return address if address in NAT64 else inner


def _malformed(url: str) -> str:
    if not url.lower().startswith("https://"):
        return "the URL does not begin with https://"
    if "#" in url:
        return "the URL has a fragment (#...); leave it out"
    return "the URL has a backslash in it"


def _host(written: str, allowed: Allowed) -> str:
    """The host as it is asked for: no two spellings of one."""
    if written.startswith("["):
        return _literal(written[1:-1], IPv6Address, allowed)
    try:
        host = written.lower() if written.isascii() else idna.encode(written, uts46=True).decode()
    except idna.IDNAError:
        raise UrlRefused(f"the URL has no host name in {written[:80]!r}") from None
    if NUMBER.fullmatch(host.rpartition(".")[2]):
        return _literal(host, IPv4Address, allowed)
    if not _is_name(host):
        raise UrlRefused(f"the URL has no host name in {written[:80]!r}")
    if host not in allowed.hosts and _is_never_public(host):
        raise UrlRefused(f"the host {host} is not on the public internet")
    return host


def _literal(written: str, kind: type[IPv4Address] | type[IPv6Address], allowed: Allowed) -> str:
    try:
        address = kind(written)
    except ValueError:
        raise UrlRefused(
            f"the URL has no address in {written[:80]!r}; write IPv4 as four decimal numbers"
        ) from None
    return str(check_address(str(address), str(address), allowed))


def _is_name(host: str) -> bool:
    return len(host) <= 253 and all(LABEL.fullmatch(label) for label in host.split("."))


def _is_never_public(host: str) -> bool:
    return "." not in host or any(host.endswith(f".{domain}") for domain in NEVER_PUBLIC)


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
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
