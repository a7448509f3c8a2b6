"""The networks a node keeps out of: this machine's own, as the operating system names them now, and its public one."""

import ipaddress

import psutil

from node_agent.public_address import network_around
from protocol.urls import Network

_WIDEST_PREFIX = {4: 8, 6: 32}
"""A shorter prefix is no local link but a tunnel that claims everything: then only the address itself is ours."""


class MachineNetworks:
    """The networks to keep out of. What a dispatcher said of the public one holds, over the end of the session, until
    another welcome tells another address of the same family."""

    def __init__(self) -> None:
        self._public: dict[int, Network] = {}

    def __call__(self) -> list[Network]:
        """List them as they are now."""
        return [*own_networks(), *self._public.values()]

    def seen_at(self, address: str) -> None:
        """Take note of the address that the dispatcher sees this node at; what is no public address is ignored."""
        network = network_around(address)
        if network is not None:
            self._public[network.version] = network


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
