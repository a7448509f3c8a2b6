"""The raw floor of receiving pages: a WebSocket, the page's SHA-256, a row: `python -m bench.body_floor DATABASE`.

An aiohttp WebSocket server; each frame is split, its body unpacked (bounded), hashed and noted in SQLite in groups,
each group synced, and then answered. No queue, no lease, no signature checked, no body kept, no credit. Prints its
port as a JSON line; with each line on standard input, its CPU seconds so far.
"""

import asyncio
import resource
import sys
from pathlib import Path

import msgspec
import uvloop
from aiohttp import WSMsgType, web

from bench.floor import Rows
from protocol.bodies import decode_body
from protocol.limits import BODY_BYTES
from protocol.statements import split


class Said(msgspec.Struct, frozen=True):
    """Where the floor answers, and the CPU seconds it has used."""

    port: int
    cpu_seconds: float


def _said(port: int) -> str:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return msgspec.json.encode(Said(port, used.ru_utime + used.ru_stime)).decode()


async def _run(database: Path) -> None:
    rows = Rows(database)

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=8 * 1024 * 1024)
        await socket.prepare(request)
        waiting: set[asyncio.Task[None]] = set()
        number = 0

        async def note(url: str, digest: str, size: int) -> None:
            await rows.insert((url, digest, size))
            await socket.send_str("stored")

        async for frame in socket:
            if frame.type is WSMsgType.BINARY:
                _, packed = split(frame.data)
                body, digest = decode_body(packed, "gzip", max_body_bytes=BODY_BYTES)
                number += 1
                task = asyncio.ensure_future(note(f"{id(socket)}/{number}", digest, len(body)))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = int(runner.addresses[0][1])
    print(_said(port), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(_said(port), flush=True)


def main() -> None:
    """Serve until standard input ends."""
    uvloop.run(_run(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
