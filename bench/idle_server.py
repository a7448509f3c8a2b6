"""Servers to hold idle connections with, on uvloop: `python -m bench.idle_server bare|gateway`.

`bare`: an aiohttp WebSocket server that answers each text with another. `gateway`: the node gateway with its sessions,
and nothing of the dispatcher behind it: no ledger, no presence, nothing to tell.
"""

import asyncio
import secrets
import sys
import time

import msgspec
import uvloop
from aiohttp import WSMsgType, web

from dispatcher.adapters.node_gateway import NodeGateway
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.job_signer import JobSigner, certify
from dispatcher.ledger import NodeSeen
from dispatcher.node_sessions import Nodes, NodeSession
from protocol.keys import SigningKey
from protocol.messages import FromNode, Ping, Pong
from protocol.statements import Statement


class ServerReady(msgspec.Struct, frozen=True):
    """The port the server answers on."""

    port: int


class _Nobody:
    """Stands where the exchange and the ledger do, and has nothing to say."""

    async def node_seen(self, node: NodeSeen) -> None:
        return

    async def on_opened(self, session: NodeSession) -> None:
        return

    async def on_message(self, session: NodeSession, message: FromNode) -> None:
        if isinstance(message, Ping):
            await session.link.send_message(Pong(time_ms=message.time_ms))

    async def on_result(self, session: NodeSession, statement: Statement, body: memoryview) -> None:
        return

    def on_gone(self, session: NodeSession) -> None:
        return


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for frame in socket:
        if frame.type is WSMsgType.TEXT:
            await socket.send_str('{"t":"pong","time_ms":1780000000000}')
    return socket


def _gateway() -> NodeGateway:
    root, job_key = (SigningKey(secrets.token_bytes(32)) for _ in range(2))
    certificate, _ = certify((), root=root, job_key=job_key, now_ms=time.time_ns() // 1_000_000)
    return NodeGateway(
        nodes=Nodes(),
        exchange=_Nobody(),
        ledger=_Nobody(),
        signer=JobSigner(job_key, certificate),
        clock=now_ms,
        new_id=new_id,
        max_nodes=1_000_000,
        hosts=lambda host: True,
        max_per_address=1_000_000,
        accepts_per_s=1_000_000,
    )


async def _serve(which: str) -> None:
    app = web.Application()
    app.router.add_get("/", _echo)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    factory = runner.server if which == "bare" else _gateway().protocol_factory(runner.server)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    print(msgspec.json.encode(ServerReady(int(server.sockets[0].getsockname()[1]))).decode(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
