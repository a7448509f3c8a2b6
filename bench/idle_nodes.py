"""What an idle node costs a dispatcher: memory, handshake and pings, beside a bare aiohttp WebSocket server."""

import asyncio
import contextlib
import resource
from dataclasses import dataclass

import psutil

from bench.cpu import Memory, cpu_seconds, memory_of
from bench.idle_client import Opened
from bench.idle_server import ServerReady
from bench.options import Options
from bench.running import Helper, running_helper, running_network
from bench.table import Table, figure, ratio
from protocol.limits import PING_INTERVAL_MS

_WARM_UP = 50
_BASELINE_S = 5.0
_PING_S = PING_INTERVAL_MS / 1000
_SPARE_FILES = 500


@dataclass(frozen=True, slots=True)
class _Held:
    """What holding the sessions cost a server: bytes each, CPU seconds to open all, CPU share of a core while idle."""

    rss_bytes: float
    uss_bytes: float
    accept_us: float
    idle_share: float
    share_before: float


async def run(options: Options) -> list[Table]:
    """Measure both servers at the same time, each with a client process of its own."""
    _allow_files(options.idle)
    async with (
        running_network(options.folder, nodes=0) as network,
        running_helper("bench.idle_server", [], ServerReady) as bare,
    ):
        bare_url = f"http://127.0.0.1:{bare.ready.port}/"
        ours, other = await _hold(
            options.idle, [("meadow", network.ready.api_url, network.pid), ("bare", bare_url, bare.pid)]
        )
    table = Table(f"idle_nodes: {options.idle} idle sessions, ping every {_PING_S:.0f} s (beside: bare aiohttp server)")
    table.add(
        "RSS, bytes a node", figure(ours.rss_bytes), figure(other.rss_bytes), ratio(ours.rss_bytes, other.rss_bytes)
    )
    table.add(
        "USS, bytes a node", figure(ours.uss_bytes), figure(other.uss_bytes), ratio(ours.uss_bytes, other.uss_bytes)
    )
    table.add(
        "CPU us a connect", figure(ours.accept_us), figure(other.accept_us), ratio(ours.accept_us, other.accept_us)
    )
    table.add("CPU, % of a core with them", f"{ours.idle_share:.2%}", f"{other.idle_share:.2%}", "-")
    table.add("CPU, % of a core before", f"{ours.share_before:.2%}", f"{other.share_before:.2%}", "-")
    pings = options.idle / _PING_S
    per_ping = [max(0.0, held.idle_share - held.share_before) / pings * 1e6 for held in (ours, other)]
    table.add("CPU us a ping, the difference", figure(per_ping[0]), figure(per_ping[1]), ratio(*per_ping))
    table.notes.append(
        "a connect here is challenge, signed hello, ledger write and welcome; there one text and its answer"
    )
    return [table]


async def _hold(count: int, servers: list[tuple[str, str, int]]) -> list[_Held]:
    pids = [pid for _, _, pid in servers]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(mode, url, count)) for mode, url, _ in servers]
        before = await _shares(pids, _BASELINE_S)
        memory: list[tuple[Memory, Memory]] = []
        accept_us: list[float] = []
        for client, pid in zip(clients, pids, strict=True):
            start, cpu = memory_of(pid), cpu_seconds(psutil.Process(pid))
            await client.next()
            accept_us.append((cpu_seconds(psutil.Process(pid)) - cpu) / count * 1e6)
            memory.append((start, memory_of(pid)))
        shares = await _shares(pids, _PING_S)
    return [
        _Held((end.rss_bytes - start.rss_bytes) / count, (end.uss_bytes - start.uss_bytes) / count, accept, share, idle)
        for (start, end), accept, share, idle in zip(memory, accept_us, shares, before, strict=True)
    ]


def _client(mode: str, url: str, count: int) -> contextlib.AbstractAsyncContextManager[Helper[Opened]]:
    return running_helper("bench.idle_client", [mode, url, str(count), str(_WARM_UP)], Opened)


async def _shares(pids: list[int], seconds: float) -> list[float]:
    """Measure the share of a core each process uses for a while."""
    before = [cpu_seconds(psutil.Process(pid)) for pid in pids]
    await asyncio.sleep(seconds)
    return [(cpu_seconds(psutil.Process(pid)) - used) / seconds for pid, used in zip(pids, before, strict=True)]


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files, which its children inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + _SPARE_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + _SPARE_FILES), hard))
