"""The connector against real sockets on this machine: what is refused never reaches a listening socket."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from protocol.adapters.guarded_connector import (
    AddressRefused,
    check_peer,
    guarded_connector,
    no_own_networks,
    refusal_in,
)
from protocol.urls import NO_TEST_SITES, Reason, Refusal, TestSites


class Site:
    """A TCP server on 0.0.0.0 that counts connections and answers every one with a page."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self.open = asyncio.TaskGroup()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.create_task(self.answer(reader, writer))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError):
            while await reader.readline() not in (b"\r\n", b""):
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    async with found.open:
        server = await asyncio.start_server(found.accept, "127.0.0.1", 0)
        found.port = server.sockets[0].getsockname()[1]
        also = [await asyncio.start_server(found.accept, "127.0.0.2", found.port)]
        with contextlib.suppress(OSError):
            also.append(await asyncio.start_server(found.accept, "::1", found.port))
        yield found
        for one in (server, *also):
            one.close()
            await one.wait_closed()


class Answers(AbstractResolver):
    """A resolver that gives these answers, one after the other, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


def sites_of(*values: str) -> TestSites:
    return TestSites.parse(values)


async def fetch(url: str, connector: aiohttp.TCPConnector, sites: TestSites = NO_TEST_SITES) -> str | Refusal:
    """Return the page, or the refusal behind the error."""
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        try:
            async with session.get(url, allow_redirects=False) as response:
                check_peer(response, test_sites=sites, own_networks=no_own_networks)
                return await response.text()
        except aiohttp.InvalidUrlClientError:
            return Refusal(Reason.MALFORMED, "aiohttp refuses the spelling itself")
        except (aiohttp.ClientError, OSError) as error:
            refusal = refusal_in(error)
            if refusal is None:
                raise
            assert "127." not in refusal.detail
            return refusal


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.1", "2130706433", "0x7f000001",
     "0177.0.0.1", "localhost", "0.0.0.0", "[::]", "0"],
)  # fmt: skip
async def test_no_spelling_of_this_machine_is_connected_to(site: Site, host: str) -> None:
    refusal = await fetch(f"http://{host}:{site.port}/", guarded_connector())
    assert isinstance(refusal, Refusal)
    assert site.connections == 0


async def test_a_test_site_is_reached(site: Site) -> None:
    for value in (f"127.0.0.1:{site.port}", f"localhost:{site.port}"):
        sites = sites_of(value)
        assert await fetch(f"http://{value}/", guarded_connector(test_sites=sites), sites) == "ok"
    assert site.connections == 2


async def test_another_address_or_name_on_a_test_sites_port_is_not(site: Site) -> None:
    sites = sites_of(f"127.0.0.1:{site.port}")
    for host in ("127.0.0.2", "[::1]", "localhost", "[::ffff:127.0.0.1]", "127.1"):
        assert isinstance(await fetch(f"http://{host}:{site.port}/", guarded_connector(test_sites=sites)), Refusal)
    other = guarded_connector(test_sites=sites, resolver=Answers(["127.0.0.1"]))
    assert isinstance(await fetch(f"http://evil.example:{site.port}/", other), Refusal)
    named = sites_of(f"shop.test:{site.port}")
    for host in ("127.0.0.1", "127.0.0.2", "other.test"):
        connector = guarded_connector(test_sites=named, resolver=Answers(["127.0.0.1"]))
        assert isinstance(await fetch(f"http://{host}:{site.port}/", connector), Refusal)
    assert site.connections == 0


async def test_another_port_of_a_test_site_is_not(site: Site) -> None:
    sites = sites_of(f"127.0.0.1:{site.port + 1 if site.port < 65_535 else 1}")
    assert isinstance(await fetch(f"http://127.0.0.1:{site.port}/", guarded_connector(test_sites=sites)), Refusal)
    assert site.connections == 0


async def test_a_test_sites_name_may_resolve_to_loopback_only(site: Site) -> None:
    sites = sites_of(f"shop.test:{site.port}")
    good = guarded_connector(test_sites=sites, resolver=Answers(["127.0.0.1"]))
    assert await fetch(f"http://shop.test:{site.port}/", good, sites) == "ok"
    for answer in (["10.0.0.1"], ["8.8.8.8"], ["127.0.0.1", "10.0.0.1"], ["::ffff:127.0.0.1"]):
        connector = guarded_connector(test_sites=sites, resolver=Answers(answer))
        assert isinstance(await fetch(f"http://shop.test:{site.port}/", connector), Refusal)
    assert site.connections == 1


async def test_one_denied_address_refuses_the_whole_answer(site: Site) -> None:
    for answer in (["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["2606:4700::1", "::1"]):
        refusal = await fetch(f"http://mixed.example:{site.port}/", guarded_connector(resolver=Answers(answer)))
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.PRIVATE_ADDRESS
    assert site.connections == 0


async def test_a_name_that_changes_its_answer_is_judged_by_each(site: Site) -> None:
    sites = sites_of(f"shop.test:{site.port}")
    resolver = Answers(["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "192.168.0.1"])
    connector = guarded_connector(test_sites=sites, resolver=resolver)
    url = f"http://shop.test:{site.port}/"
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        async with session.get(url) as response:
            assert await response.text() == "ok"
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await session.get(url)
            assert refusal_in(caught.value) is not None
    assert (resolver.asked, site.connections) == (3, 1)


class Shifting(dict[str, object]):
    """An answer that names a public address when it is looked at first, and this machine ever after."""

    looks = 0

    def __getitem__(self, name: str) -> object:
        if name != "host":
            return super().__getitem__(name)
        self.looks += 1
        return "8.8.8.8" if self.looks == 1 else "127.0.0.1"


class Rebinding(Answers):
    """A resolver whose answer changes once it was checked, as a library that resolves twice would see it."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.given = [Shifting(result) for result in await super().resolve(host, port, family)]
        return cast("list[ResolveResult]", self.given)


async def test_an_address_that_changed_after_the_check_is_refused_at_the_connect(site: Site) -> None:
    resolver = Rebinding(["8.8.8.8"])
    connector = guarded_connector(resolver=resolver)
    refusal = await fetch(f"http://rebinding.example:{site.port}/", connector)
    assert isinstance(refusal, Refusal)
    assert resolver.given[0].looks > 1
    assert site.connections == 0


async def test_own_networks_are_asked_at_every_connect(site: Site) -> None:
    own: list[ipaddress.IPv4Network] = []
    connector = guarded_connector(own_networks=lambda: own, resolver=Answers(["198.41.0.4"]))
    own.append(ipaddress.IPv4Network("198.41.0.0/24"))
    refusal = await fetch(f"http://example.org:{site.port}/", connector)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.OWN_NETWORK


async def test_the_connected_peer_is_checked_again() -> None:
    closed = asyncio.Event()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        while await reader.read(4_096):
            pass
        writer.close()
        await writer.wait_closed()
        closed.set()

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession(trust_env=False) as unguarded:
        response = await unguarded.get(f"http://127.0.0.1:{port}/")
        for sites in (NO_TEST_SITES, sites_of(f"localhost:{port}"), sites_of(f"127.0.0.2:{port}")):
            with pytest.raises(AddressRefused):
                check_peer(response, test_sites=sites, own_networks=no_own_networks)
        check_peer(response, test_sites=sites_of(f"127.0.0.1:{port}"), own_networks=no_own_networks)
        response.close()
        await closed.wait()
