"""How fast an auditor verifies a dataset, made by a real network for the purpose."""

import asyncio
import hashlib
import resource
import time

import aiohttp
import msgspec

from bench.network import NODES, post_and_wait
from bench.options import Options
from bench.running import Network, run_command, running_helper, running_network
from bench.site import SiteReady
from bench.table import Table, figure, ratio
from dispatcher.adapters.console_page import ConsoleState
from protocol.keys import SigningKey, verify_signature

ROWS = 300
_PAGE_BYTES = 4_000
_SETTLE_S = 45.0


async def run(options: Options) -> list[Table]:
    """Fetch, build, wait for anchor and payment, verify."""
    site_arguments = ["--pages", str(ROWS), "--bytes", str(_PAGE_BYTES)]
    dataset = options.folder / "dataset"
    async with (
        running_helper("bench.site", site_arguments, SiteReady) as site,
        running_network(options.folder, nodes=NODES, test_sites=site.ready.hosts()) as network,
    ):
        measured = await post_and_wait(network, network.meter(site=site.pid), site.ready.urls(ROWS))
        where = ["--api-url", network.ready.api_url, "--api-key", network.ready.api_key]
        build = ["dataset", "build", "--job", measured.batch_id, "--out", str(dataset), *where]
        status, said = await run_command("dispatcher.cli", build)
        if status:
            raise SystemExit(f"the dataset was not built: {said}")
        await _settled(network)
        arguments = ["dataset", str(dataset), "--log", network.ready.log_url, "--solana", network.ready.solana_url]
        used, started = _children_cpu_seconds(), time.perf_counter()
        status, said = await run_command("provenance.cli", arguments)
        seconds, cpu = time.perf_counter() - started, _children_cpu_seconds() - used
    floor_us = _floor_us()
    table = Table(f"verify: meadow-verify of {ROWS} rows (beside: one Ed25519 and one SHA-256 of 4 KB a row)")
    table.add(
        "rows/s, process start included",
        figure(ROWS / seconds),
        figure(1e6 / floor_us),
        ratio(ROWS / seconds, 1e6 / floor_us),
    )
    table.add(
        "CPU us a row, start included", figure(cpu / ROWS * 1e6), figure(floor_us), ratio(cpu / ROWS * 1e6, floor_us)
    )
    table.notes.append(f"exit status {status}; {said.strip().splitlines()[-1] if said.strip() else 'it said nothing'}")
    return [table]


async def _settled(network: Network) -> None:
    """Wait until the log is anchored and every credit is paid."""
    deadline = time.monotonic() + _SETTLE_S
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < deadline:
            async with http.get(f"{network.ready.api_url}/console/state") as answer:
                state = msgspec.json.decode(await answer.read(), type=ConsoleState)
            if state.anchored_size == state.log_entries and not state.credits.pending + state.credits.confirmed:
                return
            await asyncio.sleep(0.3)


def _children_cpu_seconds() -> float:
    """CPU time of child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _floor_us() -> float:
    key, message = SigningKey(bytes(range(32))), b"." * 700
    signature, page = key.sign(message), b"." * _PAGE_BYTES
    started = time.process_time()
    for _ in range(ROWS):
        verify_signature(key.public, signature, message)
        hashlib.sha256(page).digest()
    return (time.process_time() - started) / ROWS * 1e6
