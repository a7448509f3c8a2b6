"""The other side of the object bench: `python -m bench.objects_server FOLDER`, aiohttp that keeps what is PUT.

PUT /plain/{name}   writes the body to a file
PUT /synced/{name}  the same, with file and folder synced
GET /plain/{name}   sends it
GET /cpu            the CPU seconds this process used so far

Prints its port.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import uvloop
from aiohttp import web


async def serve(folder: Path) -> None:
    """Serve until the end of the standard input."""

    def write(name: str, data: bytes, *, synced: bool) -> None:
        with (folder / f".{name}").open("wb") as file:
            file.write(data)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        (folder / f".{name}").rename(folder / name)
        if synced:
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    async def plain(request: web.Request) -> web.Response:
        await asyncio.to_thread(write, request.match_info["name"], await request.read(), synced=False)
        return web.Response(status=201)

    async def synced(request: web.Request) -> web.Response:
        await asyncio.to_thread(write, request.match_info["name"], await request.read(), synced=True)
        return web.Response(status=201)

    async def read(request: web.Request) -> web.Response:
        path = folder / request.match_info["name"]
        return web.Response(body=await asyncio.to_thread(path.read_bytes))

    async def cpu(_: web.Request) -> web.Response:
        return web.json_response(time.process_time())

    app = web.Application()
    app.add_routes([web.put("/plain/{name}", plain), web.put("/synced/{name}", synced), web.get("/plain/{name}", read)])
    app.router.add_get("/cpu", cpu)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
