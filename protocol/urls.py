"""Which URLs may be asked for and which addresses may be connected to (PROTOCOL.md, section 10).

One module for node fetches, robots fetches, relayed fetches and webhooks. A URL is parsed once, by the WHATWG URL
standard (ada-url); the normalised `href` is passed on and never parsed by another library's rules. A refusal is a
value with a reason; its detail never carries an address that a name resolved to.

Sources: IANA special-purpose address registries (IPv4 and IPv6), RFC 6890, RFC 5214 (ISATAP), RFC 6761, RFC 8375,
RFC 7686.
"""

import enum
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

import ada_url
import msgspec

from protocol import limits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Reason(enum.StrEnum):
    """Why a URL or an address is refused."""

    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    SCHEME = "scheme"
    USERINFO = "userinfo"
    PORT = "port"
    HOST_NAME = "host_name"
    PRIVATE_ADDRESS = "private_address"
    OWN_NETWORK = "own_network"
    ZONE_ID = "zone_id"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A URL or address that may not be used, and why, in words for its owner."""

    reason: Reason
    detail: str


class AllowedUrl(msgspec.Struct, frozen=True):
    """A URL that may be asked for. `href` is normalised and has no fragment; `host` has no brackets."""

    href: str
    scheme: str
    host: str
    port: int
    is_test_site: bool

    @property
    def origin_host(self) -> str:
        """The host whose pace and robots rules count: the name, with its port when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme and host, as `https://example.org`."""
        return f"{self.scheme}://{self.origin_host}"


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """An address that may be connected to."""

    address: Address


_PORT = re.compile(r"[0-9]{1,5}")
_TEST_SITE_FORM = "a test site is HOST:PORT, as 127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class TestSites:
    """Loopback sites the operator of this process allows by hand. Never filled from a job or from the network."""

    __test__ = False
    sites: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, values: Collection[str]) -> "TestSites":
        """Read `HOST:PORT` values; ValueError says which one is wrong and what is expected."""
        sites = set()
        for value in values:
            host, _, port = value.rpartition(":")
            try:
                site = ada_url.URL(f"http://{host}/")
            except (ValueError, UnicodeEncodeError) as error:
                raise ValueError(f"{_TEST_SITE_FORM}; got {value!r}") from error
            is_bare = site.pathname == "/" and not (site.username or site.password or site.port or site.search)
            if not is_bare or site.href != f"http://{site.hostname}/":
                raise ValueError(f"{_TEST_SITE_FORM}; got {value!r}")
            if not _PORT.fullmatch(port) or not 0 < int(port) < 65_536:
                raise ValueError(f"{_TEST_SITE_FORM}; got {value!r}")
            sites.add((site.hostname.strip("[]"), int(port)))
        return cls(frozenset(sites))

    def allows(self, host: str, port: int) -> bool:
        """Tell whether this host and port were allowed."""
        return (host, port) in self.sites


NO_TEST_SITES = TestSites()

DEFAULT_PORTS = {"http": 80, "https": 443}
LABEL_PATTERN = "[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"{LABEL_PATTERN}(?:\.{LABEL_PATTERN})*")
_HREF = re.compile(r"(https?)://([^/@:\[\]]+|\[[^/@\]]+\])(?::([0-9]{1,5}))?/")
"""The serialised form of an http or https URL without user name and password (WHATWG URL standard, 4.5): its path
begins with a slash, and a slash or an @ before that is percent-encoded."""
_LITERAL_ENDS = frozenset("0123456789]")
"""How the host of a serialised URL ends where it is an address; names may end so too."""
NAME_BYTES = 253
_SCHEME_SHOWN = 20
REFUSED_SUFFIXES = (".local", ".internal", ".localhost", ".home.arpa", ".onion")

_LOOPBACK: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
IPV4_DENIED = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
IPV6_GLOBAL = ipaddress.IPv6Network("2000::/3")
IPV6_DENIED = tuple(
    ipaddress.IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "3ffe::/16")
)
ISATAP_INTERFACE_IDS = (0x0000_5EFE, 0x0200_5EFE)


def check_url(url: str, *, test_sites: TestSites = NO_TEST_SITES) -> AllowedUrl | Refusal:
    """Check a URL against the rules for what may be asked for, and normalise it."""
    size = len(url) if url.isascii() else len(url.encode("utf-8", "surrogatepass"))
    if size > limits.URL_BYTES:
        return Refusal(Reason.TOO_LONG, f"a URL is limited to {limits.URL_BYTES} bytes")
    try:
        parsed = ada_url.URL(url)
    except (ValueError, UnicodeEncodeError):
        return Refusal(Reason.MALFORMED, "not an absolute URL (WHATWG URL standard)")
    href = parsed.href.partition("#")[0]
    parts = _HREF.match(href)
    if parts is None:
        scheme = href.partition(":")[0]
        if scheme not in DEFAULT_PORTS:
            return Refusal(Reason.SCHEME, f"the scheme is {scheme[:_SCHEME_SHOWN]!r}; http and https are accepted")
        return Refusal(Reason.USERINFO, "the URL carries a user name or password")
    if len(href) > limits.URL_BYTES:
        return Refusal(Reason.TOO_LONG, f"a URL is limited to {limits.URL_BYTES} bytes once normalised")
    scheme, host, own_port = parts.groups()
    is_literal = host[-1] in _LITERAL_ENDS and parsed.host_type != ada_url.HostType.DEFAULT
    if host[0] == "[":
        host = host[1:-1]
    port = DEFAULT_PORTS[scheme] if own_port is None else int(own_port)
    if test_sites.allows(host, port):
        return AllowedUrl(href, scheme, host, port, is_test_site=True)
    if port not in (80, 443):
        return Refusal(Reason.PORT, f"the port is {port}; 80 and 443 are accepted")
    refusal = _check_host(host, is_literal=is_literal)
    return refusal or AllowedUrl(href, scheme, host, port, is_test_site=False)


def join_url(page: AllowedUrl, reference: str, *, test_sites: TestSites = NO_TEST_SITES) -> AllowedUrl | Refusal:
    """Resolve a reference, such as a Location header, against an allowed URL and check what comes out."""
    try:
        joined = ada_url.URL(reference, base=page.href).href
    except (ValueError, UnicodeEncodeError):
        return Refusal(Reason.MALFORMED, "the redirect's target is not a URL (WHATWG URL standard)")
    return check_url(joined, test_sites=test_sites)


def _check_host(host: str, *, is_literal: bool) -> Refusal | None:
    if is_literal:
        checked = check_address(host)
        return checked if isinstance(checked, Refusal) else None
    if host.endswith("."):
        return Refusal(Reason.HOST_NAME, "the host name ends in a dot")
    if "." not in host:
        return Refusal(Reason.HOST_NAME, "the host name has a single label")
    if len(host) > NAME_BYTES or not _NAME.fullmatch(host):
        return Refusal(Reason.HOST_NAME, "the host name is no DNS name of letters, digits, hyphens and underscores")
    if f".{host}".endswith(REFUSED_SUFFIXES):
        return Refusal(Reason.HOST_NAME, f"names under .{host.rpartition('.')[2]} are not on the public internet")
    return None


def check_address(
    address: str, *, own_networks: Collection[Network] = (), allow_loopback: bool = False
) -> AllowedAddress | Refusal:
    """Check an IP address (text, without brackets) against the rules for what may be connected to.

    `own_networks` are this machine's interface addresses, public address and on-link prefixes. `allow_loopback` is
    true only for a connection to a test site that the operator allowed; it admits loopback and nothing else.
    """
    if "%" in address:
        return Refusal(Reason.ZONE_ID, "the address carries a zone id")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return Refusal(Reason.MALFORMED, "not an IP address")
    if allow_loopback:
        if any(parsed.version == block.version and parsed in block for block in _LOOPBACK):
            return AllowedAddress(parsed)
        return Refusal(Reason.PRIVATE_ADDRESS, "a test site must be on the loopback interface")
    if _is_denied(parsed):
        return Refusal(Reason.PRIVATE_ADDRESS, "the address is not on the public internet")
    if any(parsed.version == network.version and parsed in network for network in own_networks):
        return Refusal(Reason.OWN_NETWORK, "the address is in this machine's own network")
    return AllowedAddress(parsed)


def check_answer(
    addresses: Collection[str], *, own_networks: Collection[Network] = (), allow_loopback: bool = False
) -> Refusal | None:
    """Check a whole DNS answer: one denied address refuses all of it."""
    for address in addresses:
        checked = check_address(address, own_networks=own_networks, allow_loopback=allow_loopback)
        if isinstance(checked, Refusal):
            return checked
    return None


def _is_denied(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in block for block in IPV4_DENIED)
    if address not in IPV6_GLOBAL or any(address in block for block in IPV6_DENIED):
        return True
    return (int(address) >> 32 & 0xFFFF_FFFF) in ISATAP_INTERFACE_IDS
