"""The public address a node is seen at: told to that node alone (PROTOCOL.md, section 5.1), never logged or kept."""

import ipaddress
from collections.abc import Sequence

from protocol.urls import AllowedAddress, check_address


def public_address(peer: str | None, forwarded: Sequence[str], *, behind_proxy: bool) -> str | None:
    """Return a node's public address; None where it is not known, private, or not an address.

    `peer` is the other end of the connection. Behind a proxy that is the proxy: then the right-most entry of
    `forwarded`, the values of X-Forwarded-For, counts, for the proxy itself wrote it; the others are hearsay.
    """
    text = _last_entry(forwarded) if behind_proxy else peer
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address) if isinstance(check_address(str(address)), AllowedAddress) else None


def _last_entry(forwarded: Sequence[str]) -> str:
    """The last entry without a port, as proxies write it: `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    entry = ",".join(forwarded).rpartition(",")[2].strip()
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, colon, _ = entry.partition(":")
    return host if colon and entry.count(":") == 1 else entry
