"""A proxy as a sharer may have set one: HTTP with CONNECT (RFC 9110, section 9.3.6) and SOCKS 5 (RFC 1928) on one port."""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.extension.site import listen

_SOCKS = 5
_NAME = 3
_ADDRESS_BYTES = {1: 4, 4: 16}


@dataclass
class Proxy:
    """`asked_for` holds each host that a client named; `requests` each request that was not encrypted."""

    asked_for: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            first = await reader.readexactly(1)
            await (self._socks if first[0] == _SOCKS else self._http)(first, reader, writer)
        writer.close()

    async def _http(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        if method != "CONNECT":
            self.requests.append(target)
            return
        host, _, port = target.rpartition(":")
        self.asked_for.add(host)
        await _relay(host, int(port), b"HTTP/1.1 200 Said\r\n\r\n", reader, writer)

    async def _socks(self, _: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly(1)
        await reader.readexactly(methods[0])
        writer.write(bytes([_SOCKS, 0]))
        kind = (await reader.readexactly(4))[3]
        size = (await reader.readexactly(1))[0] if kind == _NAME else _ADDRESS_BYTES[kind]
        named = await reader.readexactly(size)
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        host = named.decode() if kind == _NAME else ""
        self.asked_for.add(host)
        await _relay(host, port, bytes([_SOCKS, 0, 0, 1, 0, 0, 0, 0, 0, 0]), reader, writer)


async def _relay(
    host: str, port: int, agreed: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Every name leads to the test's site."""
    del host
    far_reader, far_writer = await asyncio.open_connection("93.184.216.34", port)
    writer.write(agreed)
    try:
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
    finally:
        far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def relaying(host: str, port: int) -> Iterator[Proxy]:
    """Serve a proxy at an address of the sandbox while the block runs."""
    proxy, loop = Proxy(), asyncio.new_event_loop()
    listening, ready, stop = listen(host, port), threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(proxy.serve, sock=listening)
        ready.set()
        await stop.wait()
        server.close()
        ends = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10), "the proxy did not start"
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
