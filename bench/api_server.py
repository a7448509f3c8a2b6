"""The floor of the API bench: a bare aiohttp application whose handlers decode and encode with orjson, and do no more.

`python -m bench.api_server STATUS_FILE` serves POST /accept and GET /status, whose answer is the JSON of the file,
encoded anew for every request. Prints one JSON line when it listens.
"""

import asyncio
import sys
from pathlib import Path

import msgspec
import orjson
import uvloop
from aiohttp import web


class ServerReady(msgspec.Struct, frozen=True):
    """The port on 127.0.0.1 that is listened to."""

    port: int


def _app(status: object) -> web.Application:
    async def accept(request: web.Request) -> web.Response:
        wanted = orjson.loads(await request.read())
        answer = {"success": True, "id": "0" * 36, "url": str(request.url), "urls": len(wanted["urls"])}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def read(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(status), content_type="application/json")

    app = web.Application()
    app.router.add_post("/accept", accept)
    app.router.add_get("/status", read)
    return app


async def _serve(status: object) -> None:
    runner = web.AppRunner(_app(status), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(msgspec.json.encode(ServerReady(runner.addresses[0][1])).decode(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(orjson.loads(Path(sys.argv[1]).read_bytes())))
