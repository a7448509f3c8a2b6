"""URL and address rules beyond the vectors: no text raises, normalising twice changes nothing, test sites stay inside."""

import ipaddress
from pathlib import Path

import ada_url
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import limits
from protocol.urls import (
    AllowedAddress,
    AllowedUrl,
    Reason,
    Refusal,
    TestSites,
    check_address,
    check_answer,
    check_url,
    join_url,
)

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
PAGE = check_url("https://example.org/a/b?c")
URL_LIKE = st.lists(
    st.sampled_from(
        [*"/\\:@?#[]%. \t\n\0", "http:", "https:", "//", "127", "0x7f", ".1", "::", "ffff:", "localhost", "example.org",
         "%2e", "%00", "\u3002", "\uff0e", "\u00ad", "\u00fc", "\u2028", "xn--", "user", ":80", ":443", ":8080", "\ud800", "\U0001f33e"]
    ),
    max_size=9,
).map("".join)  # fmt: skip


@given(st.text(max_size=80) | URL_LIKE | URL_LIKE.map(lambda text: "http://" + text))
def test_no_text_raises_and_normalising_twice_changes_nothing(text: str) -> None:
    checked = check_url(text)
    if isinstance(checked, Refusal):
        assert text[:40] not in checked.detail or len(text) < 8
        return
    assert check_url(checked.href) == checked
    assert checked.href.isascii()
    assert len(checked.href) <= limits.URL_BYTES
    assert checked.origin in checked.href
    assert not checked.is_test_site


@given(URL_LIKE.map(lambda text: "http://" + text) | URL_LIKE.map(lambda text: "https://user:pw@" + text))
@example("http://[2606:4700::1111]:443/@a:1")
@example("https://0x8080808/")
@example("http://a@b.example:81/")
@example("http://a.example9:65535/?#a")
def test_the_parts_that_are_read_from_a_normalised_url_are_the_parsers(text: str) -> None:
    try:
        parsed = ada_url.URL(text)
    except (ValueError, UnicodeEncodeError):
        return
    host, port = parsed.hostname.strip("[]"), int(parsed.port or {"http:": 80, "https:": 443}[parsed.protocol])
    checked = check_url(text, test_sites=TestSites(frozenset({(host, port)})))
    if parsed.username or parsed.password:
        assert isinstance(checked, Refusal)
        assert checked.reason is Reason.USERINFO
        return
    parsed.hash = ""
    assert checked == AllowedUrl(parsed.href, parsed.protocol[:-1], host, port, is_test_site=True)
    refused = check_url(text)
    if parsed.host_type != ada_url.HostType.DEFAULT and port in (80, 443):
        assert isinstance(refused, Refusal) == isinstance(check_address(host), Refusal)


@given(st.text(max_size=80) | URL_LIKE)
@example("\ud800")
@example("http://[")
def test_joining_never_raises_and_gives_what_checking_gives(reference: str) -> None:
    assert isinstance(PAGE, AllowedUrl)
    joined = join_url(PAGE, reference)
    if isinstance(joined, AllowedUrl):
        assert check_url(joined.href) == joined


@given(st.text(max_size=40) | st.ip_addresses().map(str))
def test_no_address_raises(text: str) -> None:
    assert isinstance(check_address(text), AllowedAddress | Refusal)


@given(st.ip_addresses(v=4))
def test_no_disguise_of_an_ipv4_address_is_allowed(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for prefix in (0, 0xFFFF << 32, 0xFFFF << 48, 0x64FF9B << 96, 0x64FF9B0001 << 80):
        disguised = ipaddress.IPv6Address(prefix | number)
        assert isinstance(check_address(str(disguised)), Refusal)
    six_to_four = ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 1)
    teredo = ipaddress.IPv6Address(0x20010000 << 96 | number << 64 | number ^ 0xFFFFFFFF)
    isatap = ipaddress.IPv6Address(0x26064700 << 96 | 0x5EFE << 32 | number)
    assert all(isinstance(check_address(str(one)), Refusal) for one in (six_to_four, teredo, isatap))


@given(st.ip_addresses())
def test_what_is_allowed_is_global_to_the_standard_library_too(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if isinstance(check_address(str(address)), AllowedAddress):
        assert address.is_global
        assert not address.is_multicast


def test_loopback_is_the_same_for_every_version_of_the_standard_library() -> None:
    def loopback(text: str) -> bool:
        return isinstance(check_address(text, allow_loopback=True), AllowedAddress)

    assert all(map(loopback, ("127.0.0.1", "127.255.255.255", "::1", "0:0:0:0:0:0:0:1")))
    assert not any(map(loopback, ("::ffff:127.0.0.1", "::127.0.0.1", "::", "::2", "126.255.255.255", "128.0.0.0", "8.8.8.8", "64:ff9b::7f00:1")))  # fmt: skip


def test_own_networks_are_refused() -> None:
    own = (ipaddress.ip_network("198.41.0.0/24"), ipaddress.ip_network("2606:4700::/32"))
    for address in ("198.41.0.4", "2606:4700::1"):
        checked = check_address(address, own_networks=own)
        assert isinstance(checked, Refusal)
        assert checked.reason is Reason.OWN_NETWORK
    assert isinstance(check_address("198.41.1.4", own_networks=own), AllowedAddress)


def test_one_denied_address_refuses_the_answer_and_is_not_named() -> None:
    assert check_answer(["8.8.8.8", "1.1.1.1"]) is None
    refusal = check_answer(["8.8.8.8", "10.11.12.13"])
    assert refusal is not None
    assert "10.11" not in refusal.detail


@pytest.mark.parametrize("value", ["127.0.0.1:8080", "localhost:1", "[::1]:65535", "LOCALHOST:80", "shop.test:0443"])
def test_test_sites_are_read(value: str) -> None:
    assert len(TestSites.parse([value]).sites) == 1


@pytest.mark.parametrize(
    "value",
    ["", ":", "8080", "127.0.0.1", "127.0.0.1:", ":80", "a:0", "a:65536", "a:-1", "a:+1", "a:8\uff10", "a: 80", "a b:80",
     "u@a:80", "a/b:80", "a?b:80", "a#b:80", "a:1:80", "::1:80", "http://a:80", "a:" + "9" * 5_000, "\ud800:80"],
)  # fmt: skip
def test_a_wrong_test_site_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="a test site is HOST:PORT"):
        TestSites.parse([value])


def test_a_test_site_is_exactly_its_host_and_port() -> None:
    sites = TestSites.parse(["127.0.0.1:8080", "[::1]:8081", "localhost:8082"])

    def allowed(url: str) -> bool:
        checked = check_url(url, test_sites=sites)
        return isinstance(checked, AllowedUrl) and checked.is_test_site

    assert all(
        map(allowed, ("http://127.0.0.1:8080/a", "http://127.1:8080/", "http://[::1]:8081/", "https://localhost:8082/"))
    )
    for url in (
        "http://127.0.0.1/", "http://127.0.0.1:8081/", "http://127.0.0.2:8080/", "http://localhost:8080/",
        "http://[::ffff:127.0.0.1]:8080/", "http://example.org:8080/", "http://u@127.0.0.1:8080/", "ftp://127.0.0.1:8080/",
        "http://127.0.0.1:8080.example.org/", "http://localhost.:8082/",
    ):  # fmt: skip
        assert isinstance(check_url(url, test_sites=sites), Refusal), url


class Attack(msgspec.Struct):
    """One attack form; of `attack_urls.json` only what is needed here."""

    url: str
    reason: str


class AttackFile(msgspec.Struct):
    """The file: its URLs that must be refused before anything is resolved."""

    urls: list[Attack]


@pytest.mark.skipif(not (VECTORS / "attack_urls.json").exists(), reason="tests/vectors/attack_urls.json is not there")
def test_the_attack_urls_are_refused_for_their_reason() -> None:
    attacks = msgspec.json.decode((VECTORS / "attack_urls.json").read_bytes(), type=AttackFile).urls
    assert len(attacks) > 80
    for attack in attacks:
        checked = check_url(attack.url)
        assert isinstance(checked, Refusal), attack.url
        assert checked.reason.value == attack.reason, attack.url
