"""The raw floor of fetching: `python -m bench.floor URL_FILE DATABASE`.

One aiohttp client, 20 requests at once, SHA-256 of each decoded body, one SQLite row a page in groups, each group
synced. No queue, no signature, no robots.txt, no log, no credit. Prints one JSON line.
"""

import asyncio
import hashlib
import resource
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import msgspec
import uvloop

CONCURRENT = 20


class FloorResult(msgspec.Struct, frozen=True):
    """How long the pages took, and the CPU time of the process meanwhile."""

    pages: int
    seconds: float
    cpu_seconds: float


class Rows:
    """Inserts rows in groups: while one group is synced the next one gathers."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._connection = self._thread.submit(_open, path).result()
        self._waiting: list[tuple[tuple[str, str, int], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def insert(self, row: tuple[str, str, int]) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, [row for row, _ in group])
            for _, future in group:
                future.set_result(None)

    def _commit(self, rows: list[tuple[str, str, int]]) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO pages VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE pages (url TEXT PRIMARY KEY, hash TEXT, bytes INTEGER)")
    return connection


async def _fetch(http: aiohttp.ClientSession, urls: Iterator[str], rows: Rows) -> None:
    for url in urls:
        async with http.get(url) as response:
            body = await response.read()
        await rows.insert((url, hashlib.sha256(body).hexdigest(), len(body)))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _run(urls: list[str], database: Path) -> FloorResult:
    rows = Rows(database)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENT)) as http:
        await asyncio.gather(*(http.get(url) for url in urls[:CONCURRENT]))
        started, cpu = time.perf_counter(), _cpu_seconds()
        queue = iter(urls)
        await asyncio.gather(*(_fetch(http, queue, rows) for _ in range(CONCURRENT)))
        return FloorResult(len(urls), time.perf_counter() - started, _cpu_seconds() - cpu)


def main() -> None:
    """Fetch and print."""
    urls = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[str])
    print(msgspec.json.encode(uvloop.run(_run(urls, Path(sys.argv[2])))).decode())


if __name__ == "__main__":
    main()
