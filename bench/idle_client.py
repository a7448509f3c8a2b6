"""Holds idle sessions open: `python -m bench.idle_client meadow|bare URL COUNT WARM_UP FIRST`.

`meadow`: real handshakes with keys of their own, numbered from FIRST, then a protocol ping every 20 s. `bare`:
WebSockets that send a text of the same size every 20 s. A bare socket client of its own, for a library's would cost
more than the servers that are measured. Reads one line of standard input between the phases: prints a JSON line once
WARM_UP are open, and one once all are.
"""

import asyncio
import contextlib
import hashlib
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from dispatcher.websocket_masking import masked
from protocol import base58
from protocol.keys import SigningKey
from protocol.limits import PING_INTERVAL_MS
from protocol.messages import Challenge, Hello, Ping, Welcome, decode_from_dispatcher, encode_message
from protocol.session import answer_challenge

AT_ONCE = 20
_MASK = b"mask"
_STEP_S = 0.1


class Opened(msgspec.Struct, frozen=True):
    """How many sessions are open now, and how long opening the last ones took."""

    sessions: int
    seconds: float


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Encode a client's frame of less than 64 KiB."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + _MASK + masked(payload, _MASK)


def request_of(url: str) -> bytes:
    """Encode an opening handshake."""
    parts = urlsplit(url)
    return (
        f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


_PING = client_frame(1, encode_message(Ping(time_ms=1_780_000_000_000)).encode())


class _Idle(asyncio.Protocol):
    """One session. `opened` is done when it is open."""

    def __init__(self, mode: str, url: str, number: int) -> None:
        self._mode, self._url, self._number = mode, url, number
        self._data: bytes | None = b""
        self._is_upgraded = False
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send(request_of(self._url))

    def data_received(self, data: bytes) -> None:
        if self._data is None:
            return
        self._data += data
        if not self._is_upgraded:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                raise SystemExit(f"the server answers {head.splitlines()[0].decode()}")
            self._is_upgraded, self._data = True, rest
            if self._mode == "bare":
                self.send(client_frame(1, b'{"t":"hello"}'))
        for payload in self._payloads():
            self._on_payload(payload)

    def send(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(frame)

    def ping(self) -> None:
        self.send(_PING)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.opened is not None and not self.opened.done():
            self.opened.set_exception(ConnectionResetError("the server hung up"))

    def _on_payload(self, payload: bytes) -> None:
        if self._mode == "meadow" and self._data is not None:
            message = decode_from_dispatcher(payload)
            if isinstance(message, Challenge):
                self.send(client_frame(2, self._hello(message)))
            if not isinstance(message, Welcome):
                return
        if self.opened is not None:
            self.opened.set_result(None)
            self._data = self.opened = None

    def _hello(self, challenge: Challenge) -> bytes:
        key = SigningKey(hashlib.sha256(b"idle node %d" % self._number).digest())
        hello = Hello(
            nonce=challenge.nonce,
            audience=challenge.audience,
            expires_ms=challenge.expires_ms,
            node_key=key.public,
            wallet=base58.encode(key.public_bytes),
            agent="meadow-bench/1",
            purposes=("train-ai",),
            max_concurrent_jobs=4,
        )
        return answer_challenge(challenge, hello, key).to_bytes()

    def _payloads(self) -> Iterator[bytes]:
        while self._data is not None and len(self._data) >= 2:
            size, start = self._data[1], 2
            if size == 126:
                size, start = int.from_bytes(self._data[2:4], "big"), 4
            if len(self._data) < start + size:
                return
            payload, self._data = self._data[start : start + size], self._data[start + size :]
            yield payload


async def _hold(mode: str, url: str, count: int, warm_up: int, first: int) -> None:
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    gate = asyncio.Semaphore(AT_ONCE)
    due: deque[tuple[float, _Idle]] = deque()

    async def one(number: int) -> None:
        async with gate:
            _, client = await loop.create_connection(
                lambda: _Idle(mode, url, number), str(parts.hostname), parts.port or 80
            )
            if client.opened is not None:
                await client.opened
            due.append((loop.time() + PING_INTERVAL_MS / 1000, client))

    async def pings() -> None:
        while True:
            now = loop.time()
            while due and due[0][0] <= now:
                at, client = due.popleft()
                client.ping()
                due.append((at + PING_INTERVAL_MS / 1000, client))
            await asyncio.sleep(_STEP_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(pings())
        for numbers in (range(first, first + warm_up), range(first + warm_up, first + warm_up + count)):
            started = time.perf_counter()
            await asyncio.gather(*(one(number) for number in numbers))
            print(msgspec.json.encode(Opened(len(due), time.perf_counter() - started)).decode(), flush=True)
            await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    """Open, hold until terminated."""
    mode, url, *numbers = sys.argv[1:]
    count, warm_up, first = map(int, numbers)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_hold(mode, url, count, warm_up, first))


if __name__ == "__main__":
    main()
