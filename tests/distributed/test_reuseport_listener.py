"""Leaving a shared port: whatever has begun to connect is served, and whoever comes later meets the others."""

import asyncio
import socket

import pytest

from dispatcher.adapters.reuseport_listener import Listener, bind, listen
from dispatcher.errors import SetupError


class Greeter(asyncio.Protocol):
    """Says its name and closes."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._name)
        transport.close()


async def greeter(name: str, port: int = 0, *, is_shared: bool = True) -> Listener:
    return await listen(lambda: Greeter(name.encode()), host="127.0.0.1", port=port, is_shared=is_shared)


async def greeted(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    name = await reader.read()
    writer.close()
    assert name, "the connection was taken and nothing said"
    return name.decode()


async def test_nothing_is_lost_while_listeners_come_and_go() -> None:
    first = await greeter("0")
    port, failures, names = first.port, [], set()
    stopping = asyncio.Event()

    async def hammer() -> None:
        while not stopping.is_set():
            try:
                names.add(await greeted(port))
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    hammering = [asyncio.create_task(hammer()) for _ in range(10)]
    leaving = first
    for number in range(1, 3):
        following = await greeter(str(number), port)
        await leaving.leave()
        leaving = following
        # Whoever met the leaving one repeats its SYN after a second.
        await asyncio.sleep(0.7)
    stopping.set()
    await asyncio.gather(*hammering)
    leaving.close()
    assert failures == []
    assert names == {"0", "1", "2"}


async def test_what_waits_to_be_accepted_is_accepted_and_no_syn_is_answered() -> None:
    leaving = await greeter("leaving")
    port = leaving.port
    # Connected by the kernel, before the loop has had a chance to accept.
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    going = asyncio.create_task(leaving.leave())
    await asyncio.sleep(0.1)
    late = socket.socket()
    late.settimeout(0.2)
    with pytest.raises(TimeoutError):
        late.connect(("127.0.0.1", port))
    other = await greeter("other", port)
    await going
    for connected in waiting:
        with connected:
            assert connected.recv(20) == b"leaving"
    assert await greeted(port) == "other"
    late.close()
    other.close()


async def test_a_port_that_is_taken_is_named() -> None:
    alone = await greeter("alone", is_shared=False)
    for is_shared in (False, True):
        with pytest.raises(SetupError, match=f"port {alone.port} on 127.0.0.1.*--port"):
            await greeter("second", alone.port, is_shared=is_shared)
    alone.close()
    with pytest.raises(SetupError, match=r"port 1 on no-such-host\.invalid"):
        bind("no-such-host.invalid", 1, is_shared=False)


async def test_every_address_of_a_name_is_listened_on_with_one_port() -> None:
    sockets = bind("localhost", 0, is_shared=True)
    ports = {bound.getsockname()[1] for bound in sockets}
    for bound in sockets:
        bound.close()
    assert len(ports) == 1
