"""What receiving a record costs: the gateway's socket, aiohttp's WebSocket, and the least a socket can do, in turns."""

import contextlib
import statistics
from pathlib import Path

from bench.frame_client import Sent
from bench.idle_server import ServerReady
from bench.running import Helper, running_helper
from bench.table import Table, figure, ratio
from dispatcher.adapters.node_socket import PATH

_SERVERS = ("ours", "aiohttp", "floor")
_SIZES = ((25_000, 1_000), (1_000_000, 60), (5_000_000, 12))
_ROUNDS = 15


async def measure() -> Table:
    """Send the same frames to each server, round by round; the median of each."""
    table = Table(
        "record frames received, split and hashed: CPU us of the server each",
        headings=("body", "ours", "aiohttp", "ratio", "floor", "ours over floor"),
    )
    for size, count in _SIZES:
        ours, other, floor = await _costs_us(size, count)
        table.add(
            f"{size // 1000:,} KB",
            figure(ours),
            figure(other),
            ratio(ours, other),
            figure(floor),
            figure(max(0.0, ours - floor)),
        )
    table.notes.append("floor: one bare socket, no checks, same C unmasking, split and sha256")
    return table


async def _costs_us(size: int, count: int) -> list[float]:
    rounds: dict[str, list[float]] = {which: [] for which in _SERVERS}
    async with contextlib.AsyncExitStack() as stack:
        pairs: dict[str, tuple[int, Helper[Sent]]] = {}
        for which in _SERVERS:
            server = await stack.enter_async_context(running_helper("bench.frame_server", [which], ServerReady))
            arguments = [f"http://127.0.0.1:{server.ready.port}{PATH}", str(size), str(count)]
            client = await stack.enter_async_context(running_helper("bench.frame_client", arguments, Sent))
            pairs[which] = server.pid, client
        for _ in range(_ROUNDS):
            for which, (pid, client) in pairs.items():
                before = _run_ns(pid)
                await client.next()
                rounds[which].append((_run_ns(pid) - before) / count / 1000)
    return [statistics.median(rounds[which]) for which in _SERVERS]


def _run_ns(pid: int) -> int:
    """How long the threads of a process were on a CPU so far (finer than the clock ticks of /proc/PID/stat)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
