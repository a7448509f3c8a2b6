"""What a client of Redis says when its connection breaks, on the event loop that dispatchers run on."""

import asyncio
import socket
import struct

import pytest
import uvloop
from redis.exceptions import RedisError

from dispatcher.adapters.redis_client import open_client


def test_a_connection_that_was_cut_is_an_error_of_redis() -> None:
    async def answer_once_and_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SELECT")
        writer.write(b"+OK\r\n" * 3)
        await cut.wait()
        # With a reset, as the system ends the connections of a process that was killed.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async def speak() -> None:
        async with await asyncio.start_server(answer_once_and_cut, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = open_client(f"redis://127.0.0.1:{port}/1", timeout_s=20)
            connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # so it is in the library
            cut.set()
            with pytest.raises((RedisError, OSError)):
                while True:
                    await asyncio.sleep(0.05)  # in which the loop learns of the end
                    await connection.send_command("PING")
            await client.connection_pool.release(connection)
            await client.aclose()

    cut = asyncio.Event()
    uvloop.run(asyncio.wait_for(speak(), 60))


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError):
        open_client("http://127.0.0.1/", timeout_s=1)
