"""URL policy: allowed and forbidden URLs and addresses."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.outbound.url_policy import Target, UrlRefused, check_address, parse_allowed, parse_target

NOT_PUBLIC = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "shared"),
    ("100.127.255.255", "shared"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("169.254.169.254", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.192", "reserved"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "tunnel"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "reserved"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.9", "documentation"),
    ("168.63.129.16", "cloud platform"),
    ("224.0.0.1", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::7f00:1", "reserved"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.1.2.3", "private"),
    ("::ffff:0:127.0.0.1", "reserved"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a9fe:a9fe", "link-local"),
    ("64:ff9b:1::7f00:1", "reserved"),
    ("2002:7f00:1::", "tunnel"),
    ("2002:808:808::1", "tunnel"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "tunnel"),
    ("2001:20::1", "reserved"),
    ("2001:db8::1", "documentation"),
    ("3fff::1", "documentation"),
    ("100::1", "reserved"),
    ("5f00::1", "reserved"),
    ("fc00::1", "private"),
    ("fd00:ec2::254", "private"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fec0::1", "reserved"),
    ("ff02::1", "multicast"),
    ("4000::1", "reserved"),
]


@pytest.mark.parametrize(("address", "kind"), NOT_PUBLIC)
def test_an_address_that_is_not_public_is_forbidden(address: str, kind: str) -> None:
    with pytest.raises(UrlRefused, match=f"h.example is not on the public internet: {kind}"):
        check_address("h.example", address)


@pytest.mark.parametrize(
    ("address", "connected"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("172.32.0.1", "172.32.0.1"),
        ("100.128.0.1", "100.128.0.1"),
        ("2606:4700::1111", "2606:4700::1111"),
        ("2001:200::1", "2001:200::1"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("64:ff9b::808:808", "64:ff9b::808:808"),
    ],
)
def test_a_public_address_is_allowed(address: str, connected: str) -> None:
    assert str(check_address("h.example", address)) == str(ipaddress.ip_address(connected))


@given(st.ip_addresses())
def test_no_address_that_python_regards_as_private_is_allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    try:
        reached = check_address("h.example", str(address))
    except UrlRefused:
        return
    if reached not in ipaddress.ip_network("64:ff9b::/96"):
        assert reached.is_global
        assert not (reached.is_private or reached.is_loopback or reached.is_link_local)
        assert not (reached.is_multicast or reached.is_reserved or reached.is_unspecified)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("example.com", 443, "/")),
        ("HTTPS://Example.COM/Hook?a=1&b=%20", Target("example.com", 443, "/Hook?a=1&b=%20")),
        ("https://example.com:443/", Target("example.com", 443, "/")),
        ("https://example.com:8443?q", Target("example.com", 8443, "/?q")),
        ("https://bücher.example/x", Target("xn--bcher-kva.example", 443, "/x")),
        ("https://ｅxample.com", Target("example.com", 443, "/")),
        ("https://8.8.8.8/", Target("8.8.8.8", 443, "/")),
        ("https://[2606:4700:0::1111]:8443/", Target("2606:4700::1111", 8443, "/")),
        ("https://[::ffff:8.8.8.8]/", Target("8.8.8.8", 443, "/")),
    ],
)
def test_a_url_is_parsed_to_host_port_and_path(url: str, target: Target) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    ("url", "normalised"),
    [
        ("HTTPS://Example.COM:443?a", "https://example.com/?a"),
        ("https://bücher.example:8443/x", "https://xn--bcher-kva.example:8443/x"),
        ("https://[2606:4700:0:0::1]:8443", "https://[2606:4700::1]:8443/"),
    ],
)
def test_a_url_is_normalised(url: str, normalised: str) -> None:
    assert parse_target(url).url == normalised
    assert parse_target(normalised).url == normalised


def test_the_host_header_has_port_and_brackets_if_needed() -> None:
    urls = ("https://a.example/", "https://a.example:8443", "https://[2606:4700::1]:8443")

    assert [parse_target(url).authority for url in urls] == [
        "a.example",
        "a.example:8443",
        "[2606:4700::1]:8443",
    ]


REFUSED = [
    ("", "does not begin with https://"),
    ("example.com/hook", "does not begin with https://"),
    ("http://example.com/", "does not begin with https://"),
    ("ftp://example.com/", "does not begin with https://"),
    ("file:///etc/passwd", "does not begin with https://"),
    ("gopher://example.com/", "does not begin with https://"),
    ("https:example.com", "does not begin with https://"),
    ("https:///example.com", "has an invalid host"),
    ("https://", "has an invalid host"),
    ("https://:443/", "has an invalid host"),
    ("https://user@example.com/", "user name"),
    ("https://user:word@example.com/", "user name"),
    ("https://example.com@127.0.0.1/", "user name"),
    ("https://example.com\\@127.0.0.1/", "backslash"),
    ("https://127.0.0.1\\.example.com/", "backslash"),
    ("https://example.com/#top", "fragment"),
    ("https://example.com#@127.0.0.1/", "fragment"),
    ("https://example.com/a b", "space"),
    ("https://example.com/\r\nHost: x", "space"),
    ("https://exa\tmple.com/", "space"),
    ("https://example.com/\x00", "space"),
    ("https://example.com/ü", "percent-encode"),
    ("https://example.com:22/", "port 22"),
    ("https://example.com:80/", "port 80"),
    ("https://example.com:0/", "port 0"),
    ("https://example.com:65536/", "port 65536"),
    ("https://example.com:/", "has an invalid host"),
    ("https://example.com:+443/", "has an invalid host"),
    ("https://example.com:443:443/", "has an invalid host"),
    ("https://example.com./", "has an invalid host name"),
    ("https://.example.com/", "has an invalid host name"),
    ("https://exa..mple.com/", "has an invalid host name"),
    ("https://exa_mple.com/", "has an invalid host name"),
    ("https://%6c%6f%63alhost.example/", "has an invalid host name"),
    ("https://-a.example/", "has an invalid host name"),
    (f"https://{'a' * 64}.example/", "has an invalid host name"),
    (f"https://{'a.' * 127}example/", "has an invalid host name"),
    ("https://ex‑ample☃️.com/", "has an invalid host name"),
    (f"https://example.com/{'a' * 2048}", "characters long"),
    (f"https://{'ü' * 50}.example/{'a' * 1981}", "characters long"),
    ("https://2606：：8.8.8.8/", "has an invalid host name"),
    ("https://8.8.8.8：443/", "has an invalid host name"),
    ("https://localhost/", "localhost is not on the public internet"),
    ("https://LOCALHOST:8443/", "localhost is not on the public internet"),
    ("https://a.localhost/", "not on the public internet"),
    ("https://redis/", "redis is not on the public internet"),
    ("https://printer.local/", "not on the public internet"),
    ("https://metadata.google.internal/", "not on the public internet"),
    ("https://127.0.0.1/", "loopback"),
    ("https://127.0.0.1:8443/", "loopback"),
    ("https://169.254.169.254/latest/meta-data/", "link-local"),
    ("https://[::1]/", "loopback"),
    ("https://[::]/", "unspecified"),
    ("https://[::ffff:127.0.0.1]/", "loopback"),
    ("https://[::ffff:7f00:1]/", "loopback"),
    ("https://[0:0:0:0:0:ffff:7f00:0001]/", "loopback"),
    ("https://[64:ff9b::7f00:1]/", "loopback"),
    ("https://[fe80::1%25eth0]/", "has an invalid host"),
    ("https://[fe80::1%eth0]/", "has an invalid host"),
    ("https://[1.2.3.4]/", "has an invalid host"),
    ("https://[::1/", "has an invalid host"),
    ("https://::1/", "has an invalid host"),
    ("https://2130706433/", "four decimal numbers"),
    ("https://0x7f000001/", "four decimal numbers"),
    ("https://0x7f.0x0.0x0.0x1/", "four decimal numbers"),
    ("https://017700000001/", "four decimal numbers"),
    ("https://0177.0.0.1/", "four decimal numbers"),
    ("https://127.000.000.001/", "four decimal numbers"),
    ("https://127.1/", "four decimal numbers"),
    ("https://127.0.1/", "four decimal numbers"),
    ("https://0/", "four decimal numbers"),
    ("https://1.2.3.4.5/", "four decimal numbers"),
    ("https://256.1.1.1/", "four decimal numbers"),
    ("https://example.0x/", "four decimal numbers"),
    ("https://127.0.0.1./", "has an invalid host name"),
    ("https://１２７.０.０.１/", "loopback"),
    ("https://127。0。0。1/", "loopback"),
    ("https://①②⑦.0.0.1/", "loopback"),
]


@pytest.mark.parametrize(("url", "words"), REFUSED)
def test_a_forbidden_or_invalid_url_is_rejected(url: str, words: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        parse_target(url)

    assert words in str(refused.value)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}.example/{text}"):
        try:
            target = parse_target(url)
        except UrlRefused:
            continue
        assert target.host.isascii()
        assert target.path.isascii()
        assert target.path.startswith("/")
        assert parse_target(target.url) == target


def test_an_operator_allows_networks_and_hosts() -> None:
    allowed = parse_allowed(["10.1.0.0/16", "fd00::/8", "192.168.1.7", "Hooks", "localhost"])

    assert parse_target("https://10.1.2.3:8443/", allowed).host == "10.1.2.3"
    assert parse_target("https://hooks/", allowed).host == "hooks"
    for host, address in (
        ("a.example", "10.1.2.3"),
        ("a.example", "::ffff:10.1.2.3"),
        ("a.example", "fd00::1"),
        ("a.example", "192.168.1.7"),
        ("hooks", "172.16.0.1"),
        ("localhost", "127.0.0.1"),
    ):
        check_address(host, address, allowed)
    for host, address in (("a.example", "10.2.0.1"), ("a.example", "127.0.0.1")):
        with pytest.raises(UrlRefused):
            check_address(host, address, allowed)
    with pytest.raises(UrlRefused):
        parse_target("http://hooks/", allowed)


@pytest.mark.parametrize("entry", ["10.1.0.0/33", "10.1.0.1/16", "a b", "https://a.example", "*"])
def test_an_entry_that_is_neither_network_nor_host_is_rejected(entry: str) -> None:
    with pytest.raises(ValueError, match=": neither a network nor a host name"):
        parse_allowed([entry])
