"""Bodies stored and read back through our object store, beside PUT and GET through aiohttp to a handler with a folder.

Bodies are pages of 130 KB as they come from nodes: about 25 KB of gzip. Our side is timed from the bytes a gateway has
in hand to the answer of the store; the other side is the server process alone, its client runs in this process.
"""

import asyncio
import contextlib
import gzip
import hashlib
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from bench.options import Options
from bench.table import Table, figure, ratio
from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.obstore_objects import ObstoreObjects
from dispatcher.objects import ObjectStore
from dispatcher.store_location import parse_location

BODIES = 1_000
AT_ONCE = 64
_PAGE_BYTES = 130_000
_PARAGRAPH_BYTES = 182


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of work cost: how many a second, and CPU microseconds each."""

    per_second: float
    cpu_us: float


def make_bodies(number: int) -> list[tuple[str, bytes]]:
    """Make pages of 130 KB that pack to about 25 KB; name and packed bytes of each."""
    chance = random.Random(7)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randrange(3, 11))) for _ in range(900)]
    made: list[tuple[str, bytes]] = []
    for _ in range(number):
        text = "".join(_paragraph(chance, words) for _ in range(_PAGE_BYTES // _PARAGRAPH_BYTES))
        body = text.encode()
        made.append((f"{hashlib.sha256(body).hexdigest()}.gzip", gzip.compress(body, 6)))
    return made


def _paragraph(chance: random.Random, words: list[str]) -> str:
    text, title, link = " ".join(chance.choices(words, k=6)), chance.choice(words), chance.choice(words)
    markup = "<div class='content-row item'><span class='teaser'></span></div><hr><br class='x'>"
    return f"<p class='text body'>{text}<a href='/page/{link}' rel='next'>{title}</a></p>{markup}\n"


async def run(options: Options) -> list[Table]:
    """Measure a folder beside aiohttp, and what a bucket costs its client."""
    bodies = await asyncio.to_thread(make_bodies, BODIES)
    size = sum(len(data) for _, data in bodies) / len(bodies) / 1_000
    table = Table(
        f"object store: {BODIES} bodies of {size:.0f} KB, {AT_ONCE} at once",
        ("what", "a second", "CPU us each", "aiohttp CPU / ours"),
    )
    folder = options.folder / "objects-bench"
    ours = LocalObjects(folder / "ours")
    put = await _through_store(ours, bodies, store=True)
    get = await _through_store(ours, bodies, store=False)
    again = await _through_store(ours, bodies, store=True)
    await ours.close()
    async with _other_side(folder / "other") as (client, address):
        synced = await _through_http(client, address, "PUT", "synced", bodies)
        plain = await _through_http(client, address, "PUT", "plain", bodies)
        read = await _through_http(client, address, "GET", "plain", bodies)
    for name, cost, beside in (
        ("put, file and folder synced", put, synced),
        ("put of what is there already", again, synced),
        ("get", get, read),
    ):
        table.add(name, figure(cost.per_second), figure(cost.cpu_us), ratio(beside.cpu_us, cost.cpu_us))
    for name, cost in (("PUT, file and folder synced", synced), ("PUT, not synced", plain), ("GET", read)):
        table.add(f"aiohttp {name}", figure(cost.per_second), figure(cost.cpu_us), "")
    bucket = ObstoreObjects(parse_location("memory:///", {}))
    for name, store in (("put", True), ("get", False)):
        cost = await _through_store(bucket, bodies, store=store)
        table.add(f"obstore {name}, its own memory", figure(cost.per_second), figure(cost.cpu_us), "")
    table.notes.append("a store's cost is that of storing alone: receiving the bytes is the gateway's")
    return [table]


async def _at_once(work: Callable[[str, bytes], Awaitable[None]], bodies: Sequence[tuple[str, bytes]]) -> None:
    queue = iter(bodies)

    async def one() -> None:
        for name, data in queue:
            await work(name, data)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def _through_store(objects: ObjectStore, bodies: Sequence[tuple[str, bytes]], *, store: bool) -> Cost:
    async def work(name: str, data: bytes) -> None:
        if store:
            await objects.put("body", name, data)
        else:
            assert await objects.get("body", name) == data

    began_s, cpu_s = time.perf_counter(), time.process_time()
    await _at_once(work, bodies)
    used_s, took_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    return Cost(len(bodies) / took_s, used_s / len(bodies) * 1e6)


@contextlib.asynccontextmanager
async def _other_side(folder: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    folder.mkdir(parents=True)
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.objects_server", str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert server.stdout is not None and server.stdin is not None
    port = int(await server.stdout.readline())
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as client:
            yield client, f"http://127.0.0.1:{port}"
    finally:
        server.stdin.close()
        await server.wait()


async def _through_http(
    client: aiohttp.ClientSession, address: str, method: str, how: str, bodies: Sequence[tuple[str, bytes]]
) -> Cost:
    async def cpu_s() -> float:
        async with client.get(f"{address}/cpu") as answer:
            return msgspec.json.decode(await answer.read(), type=float)

    async def work(name: str, data: bytes) -> None:
        async with client.request(method, f"{address}/{how}/{name}", data=data if method == "PUT" else None) as answer:
            read = await answer.read()
            assert answer.status in (200, 201) and (method == "PUT" or read == data)

    before_s, began_s = await cpu_s(), time.perf_counter()
    await _at_once(work, bodies)
    took_s = time.perf_counter() - began_s
    return Cost(len(bodies) / took_s, (await cpu_s() - before_s) / len(bodies) * 1e6)


def main() -> None:
    """Run this bench alone: `python -m bench.objects FOLDER`."""
    for table in asyncio.run(run(Options(Path(sys.argv[1])))):
        table.print()


if __name__ == "__main__":
    main()
