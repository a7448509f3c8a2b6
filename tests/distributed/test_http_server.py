"""How a dispatcher's server ends: what was asked is answered, and clients are told to go elsewhere."""

import asyncio

import pytest
from aiohttp import web

from dispatcher.adapters.http_server import HttpServer


class Shop:
    """A server with a quick page and one that waits for `ready`."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_get("/quick", self.quick)
        self.app.router.add_get("/slow", self.slow)

    async def open(self) -> HttpServer:
        return await HttpServer.start(self.app, lambda factory: factory, host="127.0.0.1", port=0, is_shared=True)

    async def quick(self, _: web.Request) -> web.Response:
        return web.Response(text="quick")

    async def slow(self, _: web.Request) -> web.Response:
        await self.ready.wait()
        return web.Response(text="slow")


class Client:
    """One connection, kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, path: str) -> tuple[str, bool]:
        """Ask; the answer, and whether the server closes the connection after it."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200"), head
        length = int(head.partition("content-length:")[2].split()[0])
        text = (await self._reader.readexactly(length)).decode()
        closes = "connection: close" in head
        if closes:
            assert await self._reader.read() == b""
        return text, closes

    async def is_closed(self) -> bool:
        async with asyncio.timeout(2):
            return await self._reader.read() == b""

    def close(self) -> None:
        self._writer.close()


async def test_open_connections_are_answered_once_more_and_waiting_requests_in_the_end() -> None:
    shop = Shop()
    server = await shop.open()
    clients = [await Client.connect(server.port) for _ in range(4)]
    used, waiting, idle, silent = clients
    assert await used.get("/quick") == ("quick", False)
    assert await idle.get("/quick") == ("quick", False)
    slow = asyncio.create_task(waiting.get("/slow"))
    await asyncio.sleep(0.05)
    await server.leave()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(server.port)
    assert await used.get("/quick") == ("quick", True)
    assert await silent.get("/quick") == ("quick", True), "connected before, asked after"
    await server.quiet(at_least_s=0.05, at_most_s=0.2)
    closing = asyncio.create_task(server.close(busy_s=5))
    assert await idle.is_closed()
    assert not closing.done()
    shop.ready.set()
    assert await slow == ("slow", True)
    await closing
    for client in clients:
        client.close()


async def test_it_does_not_wait_for_ever() -> None:
    shop = Shop()
    server = await shop.open()
    client = await Client.connect(server.port)
    slow = asyncio.create_task(client.get("/slow"))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        await server.close(busy_s=0.1)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await slow
    client.close()
