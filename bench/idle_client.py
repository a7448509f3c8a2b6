"""Holds idle sessions open: `python -m bench.idle_client meadow|bare URL COUNT WARM_UP`.

`meadow`: real handshakes with keys of their own, then a protocol ping every 20 s. `bare`: WebSockets that send a text
every 20 s. Reads one line of standard input between the phases: prints a JSON line once WARM_UP are open, and one once
all are.
"""

import asyncio
import contextlib
import hashlib
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec

from node_agent.adapters.websocket_session import open_session
from node_agent.dispatcher_url import parse_dispatcher_url
from protocol import base58
from protocol.keys import SigningKey
from protocol.limits import PING_INTERVAL_MS
from protocol.messages import Challenge, Hello

AT_ONCE = 20


class Opened(msgspec.Struct, frozen=True):
    """How many sessions are open now, and how long opening the last ones took."""

    sessions: int
    seconds: float


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _meadow(http: aiohttp.ClientSession, url: str, number: int, opened: Callable[[], None]) -> None:
    key = SigningKey(hashlib.sha256(b"idle node %d" % number).digest())

    def hello_for(challenge: Challenge) -> Hello:
        return Hello(
            nonce=challenge.nonce,
            audience=challenge.audience,
            expires_ms=challenge.expires_ms,
            node_key=key.public,
            wallet=base58.encode(key.public_bytes),
            agent="meadow-bench/1",
            purposes=("train-ai",),
            max_concurrent_jobs=4,
        )

    session = await open_session(
        http, parse_dispatcher_url(url), root_key=None, key=key, hello_for=hello_for, now_ms=_now_ms
    )
    opened()
    async with asyncio.TaskGroup() as group:
        group.create_task(session.keep_alive())
        async for _ in session.frames():
            pass


async def _bare(http: aiohttp.ClientSession, url: str, number: int, opened: Callable[[], None]) -> None:
    async with http.ws_connect(url, compress=0) as socket:
        await socket.send_str(f'{{"t":"hello","n":{number}}}')
        await socket.receive()
        opened()

        async def pings() -> None:
            while True:
                await asyncio.sleep(PING_INTERVAL_MS / 1000)
                await socket.send_str('{"t":"ping","time_ms":1780000000000}')

        async with asyncio.TaskGroup() as group:
            group.create_task(pings())
            async for _ in socket:
                pass


async def _hold(mode: str, url: str, count: int, warm_up: int) -> None:
    work: Callable[[aiohttp.ClientSession, str, int, Callable[[], None]], Awaitable[None]]
    work = _meadow if mode == "meadow" else _bare
    gate = asyncio.Semaphore(AT_ONCE)
    done = 0
    reached = asyncio.Event()

    def opened() -> None:
        nonlocal done
        done += 1
        gate.release()
        if done in (warm_up, warm_up + count):
            reached.set()

    async def one(number: int) -> None:
        await gate.acquire()
        await work(http, url, number, opened)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, asyncio.TaskGroup() as group:
        for numbers in (range(warm_up), range(warm_up, warm_up + count)):
            started = time.perf_counter()
            for number in numbers:
                group.create_task(one(number))
            await reached.wait()
            reached.clear()
            print(msgspec.json.encode(Opened(done, time.perf_counter() - started)).decode(), flush=True)
            await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    """Open, hold until terminated."""
    mode, url, count, warm_up = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_hold(mode, url, int(count), int(warm_up)))


if __name__ == "__main__":
    main()
