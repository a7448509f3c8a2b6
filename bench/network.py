"""Jobs end to end: a lab's batch through a real network of five nodes, beside a bare client on the same pages."""

import asyncio
import contextlib
import os
import sqlite3
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from bench.cpu import PARTS, Meter, Usage
from bench.floor import FloorResult
from bench.options import Options
from bench.running import Network, running_helper, running_network
from bench.site import SiteReady
from bench.table import Table, figure, ratio
from dispatcher.jobs import TERMINAL

NODES = 5
_WARM_UP = 40
_LIMIT_S = 300.0
_POLL_S = 0.02
_RUNS = ((130_000, "130 KB pages"), (2_000, "2 KB pages"))


class _Accepted(msgspec.Struct):
    id: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A batch: when it was accepted, fetched and completed after it was posted, and CPU seconds by part."""

    batch_id: str
    jobs: int
    accepted_s: float
    fetched_s: float
    completed_s: float
    fetch_cpu: dict[str, float]
    all_cpu: dict[str, float]
    states: Counter[str]


async def run(options: Options) -> list[Table]:
    """Measure both page sizes."""
    tables: list[Table] = []
    for size_bytes, name in _RUNS:
        folder = options.folder / f"network-{size_bytes}"
        folder.mkdir(parents=True)
        site_arguments = ["--pages", str(options.jobs + _WARM_UP), "--bytes", str(size_bytes)]
        profile = options.profile / f"dispatcher-{size_bytes}.prof" if options.profile else None
        async with running_helper("bench.site", site_arguments, SiteReady) as helper:
            site = helper.ready
            floor = await _floor(folder, site.urls(options.jobs))
            async with running_network(folder, nodes=NODES, test_sites=site.hosts(), profile=profile) as network:
                meter = network.meter(site=helper.pid)
                await post_and_wait(network, meter, site.urls(_WARM_UP, first=options.jobs))
                measured = await post_and_wait(network, meter, site.urls(options.jobs))
        tables += _tables(name, measured, floor)
    return tables


async def _floor(folder: Path, urls: list[str]) -> FloorResult:
    listed = folder / "urls.json"
    listed.write_bytes(msgspec.json.encode(urls))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.floor", str(listed), str(folder / "floor.sqlite3"), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("the bare client failed")
    return msgspec.json.decode(said, type=FloorResult)


async def post_and_wait(network: Network, meter: Meter, urls: list[str]) -> Measured:
    """Post a batch and watch the ledger until every job has ended."""
    headers = {"Authorization": f"Bearer {network.ready.api_key}"}
    before = meter.read()
    started = time.perf_counter()
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{network.ready.api_url}/v2/batch/scrape", json={"urls": urls, "formats": ["rawHtml"]}) as answer,
    ):
        if answer.status != 200:
            raise SystemExit(f"the batch was not accepted: {await answer.text()}")
        batch = msgspec.json.decode(await answer.read(), type=_Accepted)
    accepted_s = time.perf_counter() - started
    fetched: Usage | None = None
    with contextlib.closing(sqlite3.connect(f"file:{network.ledger}?mode=ro", uri=True)) as ledger:
        while True:
            states = Counter(
                dict(ledger.execute("SELECT state, count(*) FROM jobs WHERE batch_id = ? GROUP BY state", (batch.id,)))
            )
            if fetched is None and not states["queued"]:
                fetched = meter.read()
            ended = sum(states[state.value] for state in TERMINAL)
            if fetched is not None and ended == len(urls):
                break
            if time.perf_counter() - started > _LIMIT_S:
                raise SystemExit(f"the batch did not end within {_LIMIT_S:.0f} s: {dict(states)}")
            await asyncio.sleep(_POLL_S)
    after = meter.read()
    return Measured(
        batch_id=batch.id,
        jobs=len(urls),
        accepted_s=accepted_s,
        fetched_s=fetched.at_s - started,
        completed_s=after.at_s - started,
        fetch_cpu=fetched.since(before),
        all_cpu=after.since(before),
        states=states,
    )


def _tables(name: str, measured: Measured, floor: FloorResult) -> list[Table]:
    jobs, floor_rate = measured.jobs, floor.pages / floor.seconds
    floor_us = floor.cpu_seconds / floor.pages * 1e6
    load = os.getloadavg()[0]
    speed = Table(f"network: {jobs} {name}, {NODES} nodes, formats rawHtml (beside: bare aiohttp client, 20 at once)")
    speed.add("batch accepted, ms", figure(measured.accepted_s * 1000), "-", "-")
    speed.add(
        "all fetched, s", figure(measured.fetched_s), figure(floor.seconds), ratio(measured.fetched_s, floor.seconds)
    )
    rate = jobs / measured.fetched_s
    speed.add("fetched, jobs/s (cleaning beside)", figure(rate), figure(floor_rate), ratio(rate, floor_rate))
    rate = jobs / measured.completed_s
    speed.add("completed, jobs/s", figure(rate), figure(floor_rate), ratio(rate, floor_rate))
    states = ", ".join(f"{number} {state}" for state, number in sorted(measured.states.items()))
    speed.notes.append(f"ended: {states}; load of the machine {load:.1f} on {os.cpu_count()} cores")
    speed.notes.append("the bare client signs, logs and credits nothing, asks no robots.txt and keeps no body")
    cost = Table(
        f"network: CPU microseconds a job, {name}",
        ("process", "to all fetched", "to all completed", "bare client", "ratio"),
    )
    for part in (*PARTS, "other"):
        fetch, whole = (cpu.get(part, 0.0) / jobs * 1e6 for cpu in (measured.fetch_cpu, measured.all_cpu))
        if part == "other" and not whole:
            continue
        label = f"nodes (sum of {NODES})" if part == "nodes" else part
        cost.add(label, figure(fetch), figure(whole), "-", "-")
    for label, parts in (
        ("dispatcher + valkey + nodes", ("dispatcher", "valkey", "nodes")),
        ("everything but the site", tuple(part for part in measured.all_cpu if part != "site")),
    ):
        fetch, whole = (
            sum(cpu.get(part, 0.0) for part in parts) / jobs * 1e6 for cpu in (measured.fetch_cpu, measured.all_cpu)
        )
        cost.add(label, figure(fetch), figure(whole), figure(floor_us), ratio(whole, floor_us))
    return [speed, cost]
