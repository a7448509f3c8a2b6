"""The node's own public network, as the address that the dispatcher sees it at tells it (PROTOCOL.md, section 10.2)."""

import ipaddress

from protocol.urls import AllowedAddress, Network, check_address

_IPV6_SITE_PREFIX = 48
"""What a household or a site is given as a rule (RFC 6177): its own machines are within."""


def network_around(address: str) -> Network | None:
    """Return the network to keep out of: the very address of IPv4, the /48 of IPv6.

    None for what is no address, or one that is out of reach anyhow: nothing is learnt from it.
    """
    checked = check_address(address)
    if not isinstance(checked, AllowedAddress):
        return None
    parsed = checked.address
    prefix = _IPV6_SITE_PREFIX if isinstance(parsed, ipaddress.IPv6Address) else parsed.max_prefixlen
    return ipaddress.ip_network((parsed, prefix), strict=False)
