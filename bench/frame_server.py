"""Servers that receive record frames, take each apart and hash its body: `python -m bench.frame_server WHICH`.

`ours`: the gateway's socket. `aiohttp`: its WebSocket. `floor`: one socket, no checks, each frame read into a buffer
that is there already, unmasked by the same C routine. Each answers a frame with one of two bytes.
"""

import asyncio
import hashlib
import sys
from typing import cast

import msgspec
import uvloop
from aiohttp import WSMsgType, web

from bench.idle_server import ServerReady
from dispatcher.adapters.front_socket import FrontSocket
from dispatcher.adapters.node_socket import PATH, NodeSocket
from dispatcher.adapters.shared_parts import SharedParts
from dispatcher.errors import WebSocketViolation
from dispatcher.websocket_frames import Frame, Opcode
from dispatcher.websocket_handshake import RequestHead, accept_upgrade
from dispatcher.websocket_masking import mask_in_place
from protocol import limits
from protocol.statements import split

_ACK = b"ok"
_MOST = limits.BINARY_FRAME_BYTES + 14


def take(frame: bytes | bytearray) -> None:
    """What the dispatcher does at once with a record: split and hash. A greeting is not taken apart."""
    if len(frame) <= 125:
        return
    _, body = split(frame)
    hashlib.sha256(body).digest()


class _Ours:
    """A gate that lets everybody in, and the conversation with each."""

    def __init__(self) -> None:
        self._socket: NodeSocket

    def admit(self, socket: NodeSocket, head: RequestHead) -> tuple[bytes, "_Ours"]:
        talk = _Ours()
        talk._socket = socket
        return accept_upgrade(head), talk

    def on_frame(self, frame: Frame) -> None:
        self._socket.take_long_messages()
        if frame.opcode is Opcode.BINARY:
            take(frame.payload)
        self._socket.write(Opcode.BINARY, _ACK)

    def on_violation(self, error: WebSocketViolation) -> None:
        raise SystemExit(str(error))

    def on_lost(self) -> None:
        return


class _Floor(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self._buffer = bytearray(_MOST)
        self._filled = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._buffer.startswith(b"GET"):
            if self._buffer.endswith(b"\r\n\r\n", 0, self._filled):
                self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                self._filled = 0
                self._buffer[0] = 0
            return
        length = self._buffer[1] & 0x7F
        start, length = (
            (6, length)
            if length < 126
            else (8, int.from_bytes(self._buffer[2:4], "big"))
            if length == 126
            else (14, int.from_bytes(self._buffer[2:10], "big"))
        )
        if self._filled == start + length:
            payload = self._buffer[start : start + length]
            mask_in_place(bytes(self._buffer[start - 4 : start]), payload)
            take(payload)
            self._filled = 0
            self._transport.write(b"\x82\x02" + _ACK)


async def _aiohttp(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False, max_msg_size=limits.BINARY_FRAME_BYTES)
    await socket.prepare(request)
    async for frame in socket:
        if frame.type is WSMsgType.BINARY:
            take(frame.data)
        await socket.send_bytes(_ACK)
    return socket


async def _serve(which: str) -> None:
    loop = asyncio.get_running_loop()
    if which == "aiohttp":
        app = web.Application()
        app.router.add_get(PATH, _aiohttp)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        server = await loop.create_server(runner.server, "127.0.0.1", 0)  # type: ignore[arg-type]  # (may be None before set-up)
    elif which == "ours":
        shared, gate = SharedParts(), _Ours()
        server = await loop.create_server(lambda: FrontSocket(shared, gate, None), "127.0.0.1", 0)
    else:
        server = await loop.create_server(_Floor, "127.0.0.1", 0)
    print(msgspec.json.encode(ServerReady(int(server.sockets[0].getsockname()[1]))).decode(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
