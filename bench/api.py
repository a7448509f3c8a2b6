"""The lab API beside a bare aiohttp application: batches accepted, status pages, and how long a single scrape takes.

The dispatcher is a real `meadow up`; an accepted batch is durable before its answer. The other side does no more than
decode and encode. Requests a second and core are counted from the CPU time of the server's process alone.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import psutil

from bench.api_load import Load
from bench.api_server import ServerReady
from bench.cpu import cpu_seconds
from bench.options import Options
from bench.running import Network, running_helper, running_network
from bench.site import SiteReady
from bench.table import Table, figure, ratio

_SECONDS = 4.0
_CONNECTIONS = 32
_SCRAPES = 200
_WARM_UP = 20
_DOCUMENTS = 100
_QUICK = {
    "MEADOW_HOST_DELAY_MS": "0",
    "MEADOW_HOST_MAX_CONCURRENT": "16",
    "MEADOW_KEY_RATE_PER_MINUTE": "1000000000",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A load on one server, and the CPU microseconds a request cost it."""

    load: Load
    cpu_us: float

    @property
    def a_core(self) -> float:
        """Requests a second that one core serves."""
        return 1e6 / self.cpu_us


async def run(options: Options) -> list[Table]:
    """Measure accepting and status pages, then single scrapes."""
    site_arguments = ["--pages", str(_DOCUMENTS + _SCRAPES + _WARM_UP), "--bytes", "2000"]
    async with (
        running_helper("bench.site", site_arguments, SiteReady) as helper,
        running_network(
            options.folder / "api", nodes=2, test_sites=helper.ready.hosts(), environment=_QUICK
        ) as network,
    ):
        site = helper.ready
        batch_id = await _batch(network, site.urls(_DOCUMENTS))
        status = await _get(network, f"/v2/batch/scrape/{batch_id}")
        small = await _get(network, f"/v2/batch/scrape/{batch_id}?skip=2000000000&limit=1")
        latency = await _latency(network, site.urls(_SCRAPES + _WARM_UP, first=_DOCUMENTS))
        requests = [
            *(await _status_rows(network, options.folder, batch_id, small, status)),
            *(await _accept_rows(network, options.folder)),
        ]
    table = Table(
        f"api: requests a second and core of the server, {_CONNECTIONS} connections",
        ("what", "ours", "bare aiohttp", "ratio", "p50 ms", "p99 ms"),
    )
    for what, ours, bare in requests:
        table.add(
            what,
            figure(ours.a_core),
            figure(bare.a_core),
            ratio(ours.a_core, bare.a_core),
            figure(ours.load.p50_ms),
            figure(ours.load.p99_ms),
        )
        if ours.load.others:
            table.notes.append(f"{what}: {ours.load.others} answers were not 200: {ours.load.first_other}")
    table.notes.append("bare: an aiohttp handler that decodes and encodes with orjson, on uvloop, and keeps nothing")
    return [table, latency]


async def _status_rows(
    network: Network, folder: Path, batch_id: str, small: bytes, status: bytes
) -> list[tuple[str, Measured, Measured]]:
    rows = []
    for what, path, body in (
        ("status without documents", f"/v2/batch/scrape/{batch_id}?skip=2000000000&limit=1", small),
        (f"status with {_DOCUMENTS} documents", f"/v2/batch/scrape/{batch_id}", status),
    ):
        ours = await _measure(network.pid, _port(network), _request("GET", path, network.ready.api_key))
        bare = await _bare(folder, body, _request("GET", "/status"))
        rows.append((f"{what}, {len(body):,} bytes", ours, bare))
    return rows


async def _accept_rows(network: Network, folder: Path) -> list[tuple[str, Measured, Measured]]:
    rows = []
    for count in (1, 100):
        urls = [f"https://site{number}.example/@@" for number in range(count)]
        body = msgspec.json.encode({"urls": urls})
        ours = await _measure(
            network.pid, _port(network), _request("POST", "/v2/batch/scrape", network.ready.api_key, body)
        )
        bare = await _bare(folder, b"{}", _request("POST", "/accept", "", body))
        rows.append((f"accept a batch of {count}, durable", ours, bare))
    return rows


async def _bare(folder: Path, status: bytes, request: bytes) -> Measured:
    file = folder / "status.json"
    file.write_bytes(status)
    async with running_helper("bench.api_server", [str(file)], ServerReady) as helper:
        return await _measure(helper.pid, helper.ready.port, request)


async def _measure(pid: int, port: int, request: bytes) -> Measured:
    """Load a server; other than its own CPU time nothing is counted."""
    process = psutil.Process(pid)
    before = cpu_seconds(process)
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.api_load", "127.0.0.1", str(port), str(_CONNECTIONS), str(_SECONDS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await client.communicate(request)
    used = cpu_seconds(process) - before
    if client.returncode:
        raise SystemExit("the load ended badly")
    load = msgspec.json.decode(said, type=Load)
    return Measured(load, used / max(1, load.answers + load.others) * 1e6)


def _request(method: str, path: str, key: str = "", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        # Every @@ becomes ten digits.
        length = len(body) + 8 * body.count(b"@@")
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _port(network: Network) -> int:
    return int(network.ready.api_url.rpartition(":")[2])


async def _batch(network: Network, urls: list[str]) -> str:
    headers = {"Authorization": f"Bearer {network.ready.api_key}"}
    async with aiohttp.ClientSession(network.ready.api_url, headers=headers) as http:
        async with http.post("/v2/batch/scrape", json={"urls": urls}) as answer:
            batch_id = str((await answer.json())["id"])
        while True:
            async with http.get(f"/v2/batch/scrape/{batch_id}", params={"limit": 1}) as answer:
                if (await answer.json())["status"] != "scraping":
                    return batch_id
            await asyncio.sleep(0.1)


async def _get(network: Network, path: str) -> bytes:
    headers = {"Authorization": f"Bearer {network.ready.api_key}"}
    async with aiohttp.ClientSession(network.ready.api_url, headers=headers) as http, http.get(path) as answer:
        return await answer.read()


async def _latency(network: Network, urls: list[str]) -> Table:
    headers = {"Authorization": f"Bearer {network.ready.api_key}"}
    async with aiohttp.ClientSession(network.ready.api_url, headers=headers) as http:

        async def scrape(url: str) -> None:
            async with http.post("/v2/scrape", json={"url": url}) as answer:
                if answer.status != 200:
                    raise SystemExit(f"a scrape failed: {await answer.text()}")
                await answer.read()

        ours = await _timed(scrape, urls)
    async with aiohttp.ClientSession() as http:

        async def fetch(url: str) -> None:
            async with http.get(url) as answer:
                await answer.read()

        bare = await _timed(fetch, urls)
    table = Table(f"api: {_SCRAPES} scrapes of a local page, one after the other", ("what", "ours", "bare", "over it"))
    for what, part in (("p50, ms", 0.5), ("p99, ms", 0.99)):
        mine, other = (times[min(len(times) - 1, int(len(times) * part))] for times in (ours, bare))
        table.add(what, figure(mine), figure(other), figure(mine - other))
    table.notes.append(
        "bare: the same pages fetched by an aiohttp client; ours is queued, leased, signed, cleaned, kept"
    )
    return table


async def _timed(one: Callable[[str], Awaitable[None]], urls: list[str]) -> list[float]:
    for url in urls[:_WARM_UP]:
        await one(url)
    times = []
    for url in urls[_WARM_UP:]:
        began = time.perf_counter()
        await one(url)
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)
