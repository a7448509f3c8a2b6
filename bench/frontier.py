"""What a job costs on the frontier of the embedded server: add, lease by twenties, finish. Beside: a plain list."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
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

QUEUED = (10_000, 100_000, 1_000_000)
"""Measured in any case; `--queued` adds others, such as 10000000, which takes 5 GB and some minutes."""
TAKEN = 20_000
"""How many jobs are leased and finished while as many as are queued stay queued."""
BATCHES = (20, 256)
SHAPES = (
    (1, False, "one team"),
    (100, False, "100 teams with hosts of their own"),
    (4, True, "4 teams on every host"),
    (20, True, "20 teams on every host"),
)
_ADDED_AT_ONCE = 500
_JOBS_OF_A_HOST = 20
_START_MS = 1_780_000_000_000
_PACE = HostPace(delay_ms=1_000, max_concurrent=8)


@dataclass(slots=True)
class _Cost:
    """Microseconds a job: wall clock, CPU of this process, CPU of the server."""

    wall_us: float = 0.0
    client_us: float = 0.0
    server_us: float = 0.0


async def run(options: Options) -> list[Table]:
    """Measure every size on a server of its own; then what teams and larger batches change; then how flat it is."""
    beside = Table("frontier: microseconds a job, one caller (beside: a plain Redis list, RPUSH 500, LPOP 20, DEL)")
    costs: dict[int, dict[str, _Cost]] = {}
    sizes = sorted({*QUEUED, *options.queued})
    for queued in sizes:
        costs[queued] = ours = await _ours(options, queued, batch=BATCHES[0])
        async with _server(options.folder / f"list-{queued}") as (valkey, meter):
            client = Redis.from_url(valkey.url)
            plain = await _list(client, queued, meter)
            await client.aclose()
        for step, mine in ours.items():
            other, name = plain[step], f"{queued:,} queued, {step}"
            beside.add(f"{name}, wall", figure(mine.wall_us), figure(other.wall_us), ratio(mine.wall_us, other.wall_us))
            beside.add(f"{name}, CPU here", figure(mine.client_us), figure(other.client_us), "-")
            beside.add(f"{name}, CPU of the server", figure(mine.server_us), figure(other.server_us), "-")
    beside.notes.append("a lease honours each host's and domain's pace, takes turns between teams and is fenced")
    beside.notes.append(f"{_JOBS_OF_A_HOST} jobs a host, a host a domain; {TAKEN:,} jobs leased and finished")

    flat = Table(
        "frontier: how flat the cost is (add + lease + finish of a job, microseconds, and against the smallest queue)",
        headings=("queued", "wall", "ratio", "CPU of the server", "ratio"),
    )
    totals = {
        queued: (sum(cost.wall_us for cost in by_step.values()), sum(cost.server_us for cost in by_step.values()))
        for queued, by_step in costs.items()
    }
    wall, server = totals[sizes[0]]
    for queued, (wall_us, server_us) in totals.items():
        flat.add(f"{queued:,}", figure(wall_us), ratio(wall_us, wall), figure(server_us), ratio(server_us, server))

    shapes = Table(
        f"frontier: {QUEUED[1]:,} queued, CPU of the server in microseconds a job",
        headings=("teams; jobs a batch", "add", "lease", "finish"),
    )
    for teams, shared, name in SHAPES:
        for batch in BATCHES:
            found = await _ours(options, QUEUED[1], batch=batch, teams=teams, shared=shared)
            shapes.add(f"{name}; {batch}", *(figure(cost.server_us) for cost in found.values()))
    return [beside, flat, shapes]


class _Meter:
    """Measures steps against one server."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)

    async def measure(self, works: Iterator[Callable[[], Awaitable[int]]]) -> _Cost:
        """Run the works of a step; each returns how many jobs it handled. What makes a work is not measured here."""
        jobs, wall_s, here_s, there = 0, 0.0, 0.0, cpu_seconds(self._server)
        for work in works:
            wall, here = time.perf_counter(), time.process_time()
            jobs += await work()
            wall_s += time.perf_counter() - wall
            here_s += time.process_time() - here
        there_s = cpu_seconds(self._server) - there
        return _Cost(wall_s / jobs * 1e6, here_s / jobs * 1e6, there_s / jobs * 1e6)


@contextlib.asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[tuple[EmbeddedValkey, _Meter]]:
    valkey = await EmbeddedValkey.start(folder)
    try:
        client = Redis.from_url(valkey.url)
        pid = int((await client.info("server"))["process_id"])
        await client.aclose()
        yield valkey, _Meter(pid)
    finally:
        await valkey.stop()


async def _ours(options: Options, queued: int, *, batch: int, teams: int = 1, shared: bool = False) -> dict[str, _Cost]:
    async with _server(options.folder / f"frontier-{queued}-{batch}-{teams}-{shared}") as (valkey, meter):
        frontier = await open_redis_frontier(valkey.url, default_pace=_PACE)
        costs = await _frontier(frontier, _jobs(queued, teams, shared=shared), batch, meter)
        await frontier.close()
    return costs


def _jobs(queued: int, teams: int, *, shared: bool) -> Iterator[list[FrontierJob]]:
    """Jobs as they are added. Where hosts are shared, each has jobs of up to twenty teams."""
    for start in range(0, queued, _ADDED_AT_ONCE):
        yield [
            FrontierJob(
                job_id=new_id(),
                host=f"www.site{number // _JOBS_OF_A_HOST}.example",
                team=f"team-{(number if shared else number // _JOBS_OF_A_HOST) % teams}",
                deadline_ms=_START_MS + 3_600_000,
            )
            for number in range(start, min(start + _ADDED_AT_ONCE, queued))
        ]


async def _frontier(
    frontier: Frontier, jobs: Iterator[list[FrontierJob]], batch: int, meter: _Meter
) -> dict[str, _Cost]:
    taken: list[list[str]] = []
    queued = 0

    def add() -> Iterator[Callable[[], Awaitable[int]]]:
        nonlocal queued
        for some in jobs:
            queued += len(some)
            yield lambda some=some: frontier.add(some)  # type: ignore[misc]  # bound now, called before the next

    def lease() -> Iterator[Callable[[], Awaitable[int]]]:
        now_ms, count = _START_MS, 0

        async def take() -> int:
            nonlocal now_ms, count
            leases = await frontier.lease(DEFAULT_POOL, limit=batch, now_ms=now_ms, lease_ms=600_000)
            taken.append([found.job_id for found in leases])
            count += len(leases)
            now_ms += _PACE.delay_ms if len(leases) < batch else 0
            return len(leases)

        # A host gives eight jobs before one of them ends: the smallest queue has 4,000 of them.
        most = min(TAKEN, queued // _JOBS_OF_A_HOST * _PACE.max_concurrent)
        while count < most:
            yield take

    def finish() -> Iterator[Callable[[], Awaitable[int]]]:
        for job_ids in taken:
            if job_ids:
                yield lambda job_ids=job_ids: _finish(frontier, job_ids)  # type: ignore[misc]  # as above

    return {
        "add": await meter.measure(add()),
        f"lease({batch})": await meter.measure(lease()),
        "finish": await meter.measure(finish()),
    }


async def _finish(frontier: Frontier, job_ids: list[str]) -> int:
    await asyncio.gather(*(frontier.finish(job_id) for job_id in job_ids))
    return len(job_ids)


async def _list(client: Redis, queued: int, meter: _Meter) -> dict[str, _Cost]:
    taken: list[list[bytes | str]] = []

    def add() -> Iterator[Callable[[], Awaitable[int]]]:
        for start in range(0, queued, _ADDED_AT_ONCE):
            ids = [new_id() for _ in range(min(_ADDED_AT_ONCE, queued - start))]

            async def push(ids: list[str] = ids) -> int:
                await client.rpush("list", *ids)
                return len(ids)

            yield push

    async def pop() -> int:
        popped = await client.lpop("list", BATCHES[0])
        assert isinstance(popped, list)
        taken.append(popped)
        return len(popped)

    def forget() -> Iterator[Callable[[], Awaitable[int]]]:
        for ids in taken:

            async def delete(ids: list[bytes | str] = ids) -> int:
                await client.delete(*ids)
                return len(ids)

            yield delete

    return {
        "add": await meter.measure(add()),
        f"lease({BATCHES[0]})": await meter.measure(iter([pop] * (min(TAKEN, queued) // BATCHES[0]))),
        "finish": await meter.measure(forget()),
    }
