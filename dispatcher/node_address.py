"""The address a node is seen at: told to that node alone (PROTOCOL.md, section 5.1), never logged or kept.

What is kept of it are labels: keyed hashes that say whether two nodes are close, and nothing to those without the key.
"""

import hmac
import ipaddress
from collections.abc import Callable, Sequence

from protocol.urls import AllowedAddress, check_address

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
KEY_BYTES = 32
_DAY_MS = 24 * 3_600_000
_SUBNET_DIGITS = 12
_COUNTED_BYTES = 8


def seen_address(peer: str | None, forwarded: Sequence[str], *, behind_proxy: bool) -> IpAddress | None:
    """Return the address a node connects from; None where it is not known. An IPv4-mapped one is IPv4.

    `peer` is the other end of the connection. Behind a proxy that is the proxy: then the right-most entry of
    `forwarded`, the values of X-Forwarded-For, counts, for the proxy itself wrote it; the others are hearsay.
    """
    text = _last_entry(forwarded) if behind_proxy else peer
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def told_address(address: IpAddress | None) -> str | None:
    """Return what a node is told of its address: None where it is not a public one."""
    return str(address) if address is not None and isinstance(check_address(str(address)), AllowedAddress) else None


def public_address(peer: str | None, forwarded: Sequence[str], *, behind_proxy: bool) -> str | None:
    """Return a node's public address; None where it is not known, private, or not an address (see `seen_address`)."""
    return told_address(seen_address(peer, forwarded, behind_proxy=behind_proxy))


def network_of(address: IpAddress) -> bytes:
    """Return the network that nodes of one owner tend to share: the bytes of the /24, of IPv6 those of the /48."""
    return address.packed[: 3 if address.version == 4 else 6]


def subnet_label(network: bytes, key: bytes) -> str:
    """Return 12 hexadecimal digits that stand for a network, as long as the key lives."""
    return hmac.digest(key, network, "sha256").hex()[:_SUBNET_DIGITS]


def counted_label(address: IpAddress, key: bytes) -> bytes:
    """Return 8 bytes that stand for the address, of IPv6 for its /64: one household may use all of it."""
    counted = address.packed if address.version == 4 else address.packed[:8]
    return hmac.digest(key, counted, "sha256")[:_COUNTED_BYTES]


class DailyKey:
    """A key for `subnet_label` that lives for a day (UTC) in this process's memory, then is replaced and lost."""

    def __init__(self, *, clock: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        self._clock, self._random_bytes = clock, random_bytes
        self._day, self._key = -1, b""

    def __call__(self) -> bytes:
        """Return the key of this day."""
        day = self._clock() // _DAY_MS
        if day != self._day:
            self._day, self._key = day, self._random_bytes(KEY_BYTES)
        return self._key


def _last_entry(forwarded: Sequence[str]) -> str:
    """The last entry without a port, as proxies write it: `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    entry = ",".join(forwarded).rpartition(",")[2].strip()
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, colon, _ = entry.partition(":")
    return host if colon and entry.count(":") == 1 else entry
