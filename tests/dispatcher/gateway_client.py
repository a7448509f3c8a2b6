"""A gateway over real sockets, and nodes that dial it frame by frame."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import ClientWebSocketResponse, WSMsgType, web

from dispatcher.adapters.node_gateway import PATH, NodeGateway
from protocol import base58
from protocol.keys import SigningKey
from protocol.messages import (
    Balance,
    Challenge,
    FromDispatcher,
    FromNode,
    Hello,
    Reputation,
    SessionError,
    Welcome,
    decode_from_dispatcher,
    encode_message,
)
from protocol.statements import Kind, Statement, parse, sign
from tests.dispatcher.conftest import Room, until

TOLD = (Balance, Reputation)


@dataclass
class Gateway:
    """A running gateway and the clients of it."""

    room: Room
    port: int
    gateway: NodeGateway
    http: aiohttp.ClientSession
    clients: list[ClientWebSocketResponse] = field(default_factory=list)

    async def dial(
        self, *, host: str | None = None, forwarded: str | None = None
    ) -> tuple[ClientWebSocketResponse, Challenge]:
        """Open a connection and read its challenge."""
        headers = {"Host": host, "X-Forwarded-For": forwarded}
        socket = await self.http.ws_connect(
            f"http://127.0.0.1:{self.port}{PATH}",
            headers={name: value for name, value in headers.items() if value is not None},
            max_msg_size=0,
        )
        self.clients.append(socket)
        challenge = await said(socket)
        assert isinstance(challenge, Challenge)
        return socket, challenge

    def hello(self, challenge: Challenge, key: SigningKey) -> Hello:
        return Hello(
            nonce=challenge.nonce,
            audience=challenge.audience,
            expires_ms=challenge.expires_ms,
            node_key=key.public,
            wallet=base58.encode(key.public_bytes),
            agent="test",
            purposes=("train-ai",),
            max_concurrent_jobs=2,
        )

    async def join(self, name: int = 5) -> ClientWebSocketResponse:
        """Open a session."""
        key = SigningKey(bytes([name]) * 32)
        socket, challenge = await self.dial()
        await socket.send_bytes(sign(Kind.HELLO, self.hello(challenge, key), key).to_bytes())
        welcome = await said(socket)
        assert isinstance(welcome, Welcome)
        await until(lambda: self.room.nodes.get(key.public) is not None)
        return socket


async def _plain(request: web.Request) -> web.Response:
    return web.Response(text="plain " + await request.text())


@asynccontextmanager
async def running_gateway(
    room: Room,
    *,
    max_nodes: int = 100,
    secure: bool = False,
    max_per_address: int | None = None,
    accepts_per_s: float | None = None,
    subnet_key: Callable[[], bytes] | None = None,
) -> AsyncIterator[Gateway]:
    """Serve nodes on one port with an application that answers `/plain`."""
    made = NodeGateway(
        nodes=room.nodes,
        exchange=room.exchange,
        ledger=room.ledger,
        signer=room.signer,
        clock=room.clock,
        new_id=room.new_id,
        max_nodes=max_nodes,
        hosts=lambda host: host != "evil.example",
        secure=secure,
        max_per_address=max_per_address,
        accepts_per_s=accepts_per_s,
        subnet_key=subnet_key,
    )
    app = web.Application()
    app.router.add_route("*", "/plain", _plain)
    made.add_routes(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    factory = made.protocol_factory(runner.server)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        running = Gateway(room, server.sockets[0].getsockname()[1], made, http)
        yield running
        for client in running.clients:
            await client.close()
    server.close()
    await made.drain(0)
    await runner.cleanup()


async def said(socket: ClientWebSocketResponse) -> FromDispatcher | None:
    """The dispatcher's next message but for what it tells at any time; None where it hangs up."""
    while True:
        frame = await socket.receive(timeout=5)
        message = decode_from_dispatcher(frame.data) if frame.type is WSMsgType.TEXT else None
        if not isinstance(message, TOLD):
            return message


async def given(socket: ClientWebSocketResponse) -> Statement:
    """The next statement the dispatcher sends."""
    while True:
        frame = await socket.receive(timeout=5)
        if frame.type is WSMsgType.BINARY:
            return parse(frame.data)
        assert isinstance(decode_from_dispatcher(frame.data), TOLD)


async def say(socket: ClientWebSocketResponse, message: FromNode) -> None:
    await socket.send_str(encode_message(message))


async def refusal(socket: ClientWebSocketResponse) -> str:
    """The code the dispatcher ends the session with."""
    message = await said(socket)
    assert isinstance(message, SessionError), message
    assert await said(socket) is None
    return message.code
