"""Pages of 130 KB through real sockets: nodes that answer at once, a whole dispatcher, beside the raw floor."""

import asyncio
import sys
from pathlib import Path

import msgspec

from bench.body_floor import Said
from bench.body_nodes import Sent
from bench.network import post_and_wait
from bench.options import Options
from bench.running import running_helper, running_network
from bench.site import SiteReady
from bench.table import Table, figure, ratio

NODES = 8
SIZE_BYTES = 130_000
_WARM_UP = 100


async def run(options: Options) -> list[Table]:
    """Measure both sides."""
    floor_rate, floor_us = await _floor(options.folder, options.jobs)
    site_arguments = ["--pages", "1", "--bytes", "1000"]
    profile = options.profile / "dispatcher-bodies.prof" if options.profile else None
    async with running_helper("bench.site", site_arguments, SiteReady) as site:
        hosts = site.ready.hosts()
        folder = options.folder / "bodies"
        async with running_network(folder, nodes=0, test_sites=hosts, profile=profile) as network:
            arguments = [network.ready.api_url, str(NODES), str(options.jobs + _WARM_UP), str(SIZE_BYTES)]
            async with running_helper("bench.body_nodes", arguments, Sent) as nodes:
                meter = network.meter(site=site.pid, nodes=nodes.pid)
                await post_and_wait(network, meter, site.ready.urls(_WARM_UP, first=options.jobs))
                measured = await post_and_wait(network, meter, site.ready.urls(options.jobs))
    table = Table(
        f"bodies: {options.jobs} pages of {SIZE_BYTES:,} bytes through real sockets, no fetch"
        " (beside: WebSocket + sha256 + a row)"
    )
    rate = options.jobs / measured.fetched_s
    table.add(
        "received and stored, jobs/s (cleaning beside)", figure(rate), figure(floor_rate), ratio(rate, floor_rate)
    )
    dispatcher_us, valkey_us = (
        measured.fetch_cpu.get(part, 0.0) / options.jobs * 1e6 for part in ("dispatcher", "valkey")
    )
    table.add(
        "CPU of the dispatcher, us a job", figure(dispatcher_us), figure(floor_us), ratio(dispatcher_us, floor_us)
    )
    table.add("with the queue's server, us a job", figure(dispatcher_us + valkey_us), figure(floor_us), "-")
    whole_us, cleaning_us = (
        measured.all_cpu.get(part, 0.0) / options.jobs * 1e6 for part in ("dispatcher", "cleaning")
    )
    table.add("CPU of the dispatcher until all is cleaned, us a job", figure(whole_us), "-", "-")
    table.add("CPU of the cleaning workers, us a job", figure(cleaning_us), "-", "-")
    table.notes.append(f"the floor's share of the dispatcher's CPU: {floor_us / dispatcher_us:.0%}")
    table.notes.append(
        "ours: lease, signed job, verified record, stored body and document, result, credit and log entry, acknowledged"
    )
    return [table]


async def _floor(folder: Path, jobs: int) -> tuple[float, float]:
    """Frames a second and CPU microseconds a frame of the floor."""
    async with running_helper("bench.body_floor", [str(folder / "floor.sqlite3")], Said) as floor:
        command = [sys.executable, "-m", "bench.body_nodes", "--raw", f"ws://127.0.0.1:{floor.ready.port}/"]
        for count in (_WARM_UP, jobs):
            before = await floor.next()
            process = await asyncio.create_subprocess_exec(
                *command, str(count), str(SIZE_BYTES), stdout=asyncio.subprocess.PIPE
            )
            said, _ = await process.communicate()
            sent = msgspec.json.decode(said, type=Sent)
            after = await floor.next()
        return sent.count / sent.seconds, (after.cpu_seconds - before.cpu_seconds) / sent.count * 1e6
