"""What a job costs on the frontier of the embedded server: add, lease by twenties, finish. Beside: a plain list."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis.asyncio import Redis

from bench.cpu import cpu_seconds
from bench.options import Options
from bench.table import Table, figure, ratio
from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.adapters.system_clock import new_id
from dispatcher.frontier import DEFAULT_POOL, Frontier, FrontierJob, HostPace

QUEUED = (10_000, 100_000)
TAKEN = 4_000
"""How many of the queued jobs are leased and finished while the rest stays."""
BATCH = 20
_ADDED_AT_ONCE = 500
_JOBS_OF_A_HOST = 20
_START_MS = 1_780_000_000_000
_PACE = HostPace(delay_ms=1_000, max_concurrent=8)


@dataclass(frozen=True, slots=True)
class _Cost:
    """Microseconds a job: wall clock, CPU of this process, CPU of the server."""

    wall_us: float
    client_us: float
    server_us: float


async def run(options: Options) -> list[Table]:
    """Measure both sizes on a server each."""
    table = Table("frontier: microseconds a job, one caller (beside: a plain Redis list, RPUSH 500, LPOP 20, DEL)")
    for queued in QUEUED:
        async with _server(options.folder / f"frontier-{queued}") as (valkey, meter):
            frontier = await open_redis_frontier(valkey.url, default_pace=_PACE)
            ours = await _frontier(frontier, queued, meter)
            await frontier.close()
        async with _server(options.folder / f"list-{queued}") as (valkey, meter):
            client = Redis.from_url(valkey.url)
            plain = await _list(client, queued, meter)
            await client.aclose()
        for step, mine, other in zip(("add", f"lease({BATCH})", "finish"), ours, plain, strict=True):
            name = f"{queued:,} queued, {step}"
            table.add(f"{name}, wall", figure(mine.wall_us), figure(other.wall_us), ratio(mine.wall_us, other.wall_us))
            table.add(f"{name}, CPU here", figure(mine.client_us), figure(other.client_us), "-")
            table.add(f"{name}, CPU of valkey", figure(mine.server_us), figure(other.server_us), "-")
    table.notes.append("a lease here honours each host's pace and is fenced; the list knows neither hosts nor leases")
    table.notes.append(f"{_JOBS_OF_A_HOST} jobs a host; {TAKEN:,} jobs leased and finished of those queued")
    return [table]


class _ServerMeter:
    """Measures steps against one server."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)

    async def measure(self, work: Callable[[], Awaitable[int]]) -> _Cost:
        """Run a step; `work` returns how many jobs it handled."""
        wall, here, there = time.perf_counter(), time.process_time(), cpu_seconds(self._server)
        jobs = await work()
        return _Cost(
            (time.perf_counter() - wall) / jobs * 1e6,
            (time.process_time() - here) / jobs * 1e6,
            (cpu_seconds(self._server) - there) / jobs * 1e6,
        )


@contextlib.asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[tuple[EmbeddedValkey, _ServerMeter]]:
    valkey = await EmbeddedValkey.start(folder)
    try:
        client = Redis.from_url(valkey.url)
        pid = int((await client.info("server"))["process_id"])
        await client.aclose()
        yield valkey, _ServerMeter(pid)
    finally:
        await valkey.stop()


async def _frontier(frontier: Frontier, queued: int, meter: _ServerMeter) -> tuple[_Cost, _Cost, _Cost]:
    jobs = [FrontierJob(job_id=new_id(), host=f"site{number // _JOBS_OF_A_HOST}.example") for number in range(queued)]
    taken: list[list[str]] = []

    async def add() -> int:
        for start in range(0, queued, _ADDED_AT_ONCE):
            await frontier.add(jobs[start : start + _ADDED_AT_ONCE])
        return queued

    async def lease() -> int:
        now_ms, count = _START_MS, 0
        while count < TAKEN:
            leases = await frontier.lease(DEFAULT_POOL, limit=BATCH, now_ms=now_ms, lease_ms=600_000)
            if leases:
                taken.append([lease.job_id for lease in leases])
                count += len(leases)
            else:
                now_ms += _PACE.delay_ms
        return count

    async def finish() -> int:
        for job_ids in taken:
            await asyncio.gather(*(frontier.finish(job_id) for job_id in job_ids))
        return sum(len(job_ids) for job_ids in taken)

    return await meter.measure(add), await meter.measure(lease), await meter.measure(finish)


async def _list(client: Redis, queued: int, meter: _ServerMeter) -> tuple[_Cost, _Cost, _Cost]:
    jobs = [new_id() for _ in range(queued)]
    taken: list[list[bytes | str]] = []

    async def add() -> int:
        for start in range(0, queued, _ADDED_AT_ONCE):
            await client.rpush("list", *jobs[start : start + _ADDED_AT_ONCE])
        return queued

    async def take() -> int:
        while len(taken) * BATCH < TAKEN:
            popped = await client.lpop("list", BATCH)
            assert isinstance(popped, list)
            taken.append(popped)
        return TAKEN

    async def forget() -> int:
        for job_ids in taken:
            await client.delete(*job_ids)
        return TAKEN

    return await meter.measure(add), await meter.measure(take), await meter.measure(forget)
