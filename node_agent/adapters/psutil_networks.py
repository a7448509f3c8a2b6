"""This machine's own networks, as the operating system names them now."""

import ipaddress

import psutil

from protocol.urls import Network

_WIDEST_PREFIX = {4: 8, 6: 32}
"""A shorter prefix is no local link but a tunnel that claims everything: then only the address itself is ours."""


def own_networks() -> list[Network]:
    """List the addresses of all interfaces with their on-link prefixes."""
    networks: list[Network] = []
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            address = entry.address.partition("%")[0]
            try:
                network = ipaddress.ip_interface(f"{address}/{entry.netmask}" if entry.netmask else address).network
            except ValueError:
                try:
                    network = ipaddress.ip_interface(f"{address}/{_prefix_of(entry.netmask)}").network
                except ValueError:
                    continue
            if network.prefixlen < _WIDEST_PREFIX[network.version]:
                network = ipaddress.ip_network(address)
            networks.append(network)
    return networks


def _prefix_of(netmask: str | None) -> int:
    """Count the bits of an IPv6 netmask; ValueError where it is none."""
    return int(ipaddress.IPv6Address((netmask or "").partition("%")[0])).bit_count()
