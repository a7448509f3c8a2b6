"""What an idle node costs: memory, handshake and pings, of a dispatcher, of its gateway alone and of bare aiohttp."""

import asyncio
import contextlib
import os
import resource
from dataclasses import dataclass

import psutil

from bench import record_frames
from bench.cpu import Memory, cpu_seconds, memory_of
from bench.idle_client import Opened
from bench.idle_server import ServerReady
from bench.options import Options
from bench.running import Helper, running_helper, running_network
from bench.table import Table, figure, ratio
from dispatcher.adapters.node_socket import PATH
from protocol.limits import PING_INTERVAL_MS

_WARM_UP = 100
_CLIENTS = 2
_BASELINE_S = 10.0
_PING_S = PING_INTERVAL_MS / 1000
_HELD_S = 3 * _PING_S
_SPARE_FILES = 500
_ENVIRONMENT = {"MEADOW_MAX_NODES": "1000000", "MEADOW_MAX_PER_ADDRESS": "1000000", "MEADOW_ACCEPTS_PER_S": "1000000"}


@dataclass(frozen=True, slots=True)
class _Held:
    """What holding the sessions cost a server: bytes each, CPU seconds to open all, CPU share of a core while idle."""

    rss_bytes: float
    uss_bytes: float
    accept_us: float
    idle_share: float
    share_before: float

    @property
    def extra_share(self) -> float:
        """The share of a core that holding them takes."""
        return max(0.0, self.idle_share - self.share_before)


async def run(options: Options) -> list[Table]:
    """Measure the servers at the same time, each with client processes of its own; then what a record costs."""
    _allow_files(options.idle)
    os.environ.update(_ENVIRONMENT)
    async with (
        running_network(options.folder, nodes=0) as network,
        running_helper("bench.idle_server", ["gateway"], ServerReady) as gateway,
        running_helper("bench.idle_server", ["bare"], ServerReady) as bare,
    ):
        servers = [
            ("meadow", f"{network.ready.api_url}{PATH}", network.pid),
            ("meadow", f"http://127.0.0.1:{gateway.ready.port}{PATH}", gateway.pid),
            ("bare", f"http://127.0.0.1:{bare.ready.port}/", bare.pid),
        ]
        held = await _hold(options.idle, servers)
    table = Table(
        f"idle_nodes: {options.idle:,} idle sessions on each, ping every {_PING_S:.0f} s",
        headings=("what", "dispatcher", "gateway alone", "aiohttp", "ratio", "ratio alone"),
    )
    pings = options.idle / _PING_S
    _add(table, "RSS, bytes a node", [each.rss_bytes for each in held])
    _add(table, "USS, bytes a node", [each.uss_bytes for each in held])
    _add(table, "CPU us a connect", [each.accept_us for each in held])
    _add(table, "CPU us a ping, the difference", [each.extra_share / pings * 1e6 for each in held])
    _add(table, "CPU, % of a core, the difference", [each.extra_share * 100 for each in held])
    _add(table, "CPU, % of a core before", [each.share_before * 100 for each in held])
    table.notes.append("dispatcher: `meadow up`, its main process; a connect is handshake, ledger, balance, reputation")
    table.notes.append(
        "gateway alone: the same gateway and sessions with nothing behind it; a connect is the handshake"
    )
    table.notes.append("aiohttp: a bare WebSocket server on uvloop; a connect is one text and its answer")
    return [table, await record_frames.measure()]


def _add(table: Table, what: str, values: list[float]) -> None:
    dispatcher, gateway, bare = values
    table.add(what, *map(figure, values), ratio(dispatcher, bare), ratio(gateway, bare))


async def _hold(count: int, servers: list[tuple[str, str, int]]) -> list[_Held]:
    pids = [pid for _, _, pid in servers]
    async with contextlib.AsyncExitStack() as stack:
        clients: list[list[Helper[Opened]]] = []
        for mode, url, _ in servers:
            opening = [stack.enter_async_context(_client(mode, url, count, number)) for number in range(_CLIENTS)]
            clients.append([await helper for helper in opening])
        before = await _shares(pids, _BASELINE_S)
        starts: list[Memory] = []
        accept_us: list[float] = []
        for helpers, pid in zip(clients, pids, strict=True):
            starts.append(memory_of(pid))
            cpu = cpu_seconds(psutil.Process(pid))
            await asyncio.gather(*(helper.next() for helper in helpers))
            accept_us.append((cpu_seconds(psutil.Process(pid)) - cpu) / count * 1e6)
        await asyncio.sleep(_PING_S)
        shares = await _shares(pids, _HELD_S)
        ends = [memory_of(pid) for pid in pids]
    return [
        _Held((end.rss_bytes - start.rss_bytes) / count, (end.uss_bytes - start.uss_bytes) / count, accept, share, idle)
        for start, end, accept, share, idle in zip(starts, ends, accept_us, shares, before, strict=True)
    ]


def _client(mode: str, url: str, count: int, number: int) -> contextlib.AbstractAsyncContextManager[Helper[Opened]]:
    share = count // _CLIENTS + (number < count % _CLIENTS)
    arguments = [mode, url, str(share), str(_WARM_UP), str(number * (count + _WARM_UP))]
    return running_helper("bench.idle_client", arguments, Opened)


async def _shares(pids: list[int], seconds: float) -> list[float]:
    """Measure the share of a core each process uses for a while."""
    before = [cpu_seconds(psutil.Process(pid)) for pid in pids]
    await asyncio.sleep(seconds)
    return [(cpu_seconds(psutil.Process(pid)) - used) / seconds for pid, used in zip(pids, before, strict=True)]


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files, which its children inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_FILES
    if wanted > hard:
        raise SystemExit(f"{count} idle nodes need {wanted} open files in one process; the limit here is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
