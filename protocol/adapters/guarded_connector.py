"""An aiohttp connector that connects only where `protocol.urls` allows it.

Two checks guard every connection. The resolver refuses a DNS answer in which any address is denied. The socket
factory, which aiohttp calls with the very address it is about to connect to, refuses it again: IP literals never
reach a resolver, and a name may resolve to something else the second time. Loopback is admitted for exactly the
endpoints of the operator's test sites: another name, or another loopback address, on the same port is refused.
"""

import socket
from collections.abc import Callable, Collection

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from protocol.urls import NO_TEST_SITES, Network, Refusal, TestSites, check_address, check_answer

OwnNetworks = Callable[[], Collection[Network]]


class AddressRefused(OSError):
    """A connection that was not made because the address is refused. `refusal` says why, without the address."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def no_own_networks() -> Collection[Network]:
    """Say that this machine has no networks of its own to keep out of."""
    return ()


class _GuardedResolver(AbstractResolver):
    def __init__(self, resolver: AbstractResolver, test_sites: TestSites, own_networks: OwnNetworks) -> None:
        self._resolver, self._test_sites, self._own_networks = resolver, test_sites, own_networks
        self.loopback: set[tuple[str, int]] = set()
        """Loopback endpoints that the name of a test site resolved to."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answer = await self._resolver.resolve(host, port, family)
        addresses = [result["host"] for result in answer]
        is_test_site = self._test_sites.allows(host, port)
        refusal = check_answer(addresses, own_networks=self._own_networks(), allow_loopback=is_test_site)
        if refusal is not None:
            raise AddressRefused(refusal)
        if is_test_site:
            self.loopback.update((address, port) for address in addresses)
        return answer

    async def close(self) -> None:
        await self._resolver.close()


def guarded_connector(
    *,
    test_sites: TestSites = NO_TEST_SITES,
    own_networks: OwnNetworks = no_own_networks,
    resolver: AbstractResolver | None = None,
    limit: int = 100,
    keep_alive: bool = False,
) -> aiohttp.TCPConnector:
    """Make the connector. Needs a running event loop. Pair it with `trust_env=False` and redirects by hand.

    `own_networks` is asked at every connect, so a laptop that moves is judged by where it is now. With `keep_alive`
    a connection may serve several requests to the same host.
    """
    guarded = _GuardedResolver(resolver or aiohttp.ThreadedResolver(), test_sites, own_networks)

    def make_socket(
        info: tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]],
    ) -> socket.socket:
        family, kind, protocol_number, _, destination = info
        address, port = str(destination[0]), int(destination[1])
        is_test_site = test_sites.allows(address, port) or (address, port) in guarded.loopback
        checked = check_address(address, own_networks=own_networks(), allow_loopback=is_test_site)
        if isinstance(checked, Refusal):
            raise AddressRefused(checked)
        return socket.socket(family, kind, protocol_number)

    return aiohttp.TCPConnector(
        resolver=guarded,
        socket_factory=make_socket,
        use_dns_cache=False,
        limit=limit,
        force_close=not keep_alive,
    )


def refusal_in(error: BaseException | None) -> Refusal | None:
    """Find the refusal behind an aiohttp error, if there is one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, AddressRefused):
            return error.refusal
        nested = getattr(error, "os_error", None)
        error = nested if isinstance(nested, BaseException) else error.__cause__
    return None


def check_peer(response: aiohttp.ClientResponse, *, test_sites: TestSites, own_networks: OwnNetworks) -> None:
    """Check the connected peer once more where the connection is still attached; AddressRefused otherwise."""
    transport = response.connection.transport if response.connection is not None else None
    peer = transport.get_extra_info("peername") if transport is not None else None
    if peer is None:
        return
    is_test_site = test_sites.allows(response.url.raw_host or "", response.url.port or 0)
    checked = check_address(str(peer[0]), own_networks=own_networks(), allow_loopback=is_test_site)
    if isinstance(checked, Refusal):
        raise AddressRefused(checked)
