"""A bare aiohttp WebSocket server on uvloop, which answers each text with another: `python -m bench.idle_server`."""

import asyncio

import msgspec
import uvloop
from aiohttp import WSMsgType, web


class ServerReady(msgspec.Struct, frozen=True):
    """The port the server answers on."""

    port: int


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for frame in socket:
        if frame.type is WSMsgType.TEXT:
            await socket.send_str('{"t":"pong","time_ms":1780000000000}')
    return socket


async def _serve() -> None:
    app = web.Application()
    app.router.add_get("/", _echo)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(msgspec.json.encode(ServerReady(int(runner.addresses[0][1]))).decode(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
