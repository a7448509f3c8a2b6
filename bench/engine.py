"""Jobs a second through queue and ledger with a fetch that does nothing, beside BullMQ and arq on the same server.

One Redis-protocol server with an append-only file synced every second serves all three, one after the other. Ours
commits each job, its result, log entry and credit to the ledger (synchronous=FULL) before it is answered; BullMQ and
arq have no ledger: what they were told last second is gone with the server.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from bench.cpu import cpu_seconds
from bench.engine_floor import LedgerFloor, measure_floor
from bench.engine_worker import SUBMITTED_AT_ONCE, Step
from bench.options import Options
from bench.table import Table, figure, ratio
from tests.servers import RedisServer

JOBS = 20_000
LEDGER = "ledger.sqlite3"
DISPATCHERS = (1, 2, 4)
_RIVAL_CONCURRENT = 100
_ARQ_JOBS = 4_000
_GROWTH_JOBS, _GROWTH_ROUNDS = 10_000, 3
_RIVALS = Path(__file__).parent / "rivals"


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds to take the jobs in and to work them off, and CPU seconds of the clients and of the server."""

    jobs: int
    added_s: float
    worked_s: float
    client_cpu_s: float
    server_cpu_s: float
    server: str

    @property
    def a_second(self) -> float:
        """Jobs a second from the first submission to the last end."""
        return self.jobs / (self.added_s + self.worked_s)

    @property
    def cpu_us(self) -> float:
        """CPU microseconds a job, of clients and server."""
        return (self.client_cpu_s + self.server_cpu_s) / self.jobs * 1e6


async def run(options: Options) -> list[Table]:
    """Measure all three, the bound of our ledger, then what documents, dispatchers and a long queue cost ours."""
    async with _server(options.folder / "server") as server:
        ours = await _ours(server, options.folder / "engine", JOBS)
        floor = measure_floor(options.folder / "engine" / LEDGER, options.folder / "floor.sqlite3")
        bullmq = await _bullmq(server)
        arq = await _arq(server)
    table = Table(
        f"engine: {JOBS:,} no-op jobs end to end, queue durable at everysec",
        ("what", "ours", "BullMQ", "arq", "ours/BullMQ", "ours/arq"),
    )
    for what, value in _FIGURES.items():
        others = [None if side is None else value(side) for side in (bullmq, arq)]
        table.add(
            what,
            *("-" if each is None else figure(each) for each in (value(ours), *others)),
            *("-" if other is None else ratio(value(ours), other) for other in others),
        )
    table.notes.append(f"the server of all three: {ours.server}, appendfsync everysec")
    table.notes.append(
        f"ours: batches of 1,000, {SUBMITTED_AT_ONCE} at once; each job, result, log entry and credit committed to"
        " SQLite with synchronous=FULL; a page without a byte, which completes its job with its result"
    )
    table.notes.append(
        f"BullMQ: addBulk 100, {SUBMITTED_AT_ONCE} bulks and then {_RIVAL_CONCURRENT} jobs at once, removed when"
        " completed; no ledger"
    )
    table.notes.append(f"arq: {_ARQ_JOBS:,} jobs, enqueued 100 at once, max_jobs {_RIVAL_CONCURRENT}; no ledger")
    for side, name in ((bullmq, "BullMQ"), (arq, "arq")):
        if side is None:
            table.notes.append(f"{name} is not installed: make bench installs it under bench/rivals")
    return [
        table,
        _bound(ours, bullmq, floor),
        await _documents(options),
        await _dispatchers(options),
        await _growth(options),
    ]


_FIGURES: dict[str, Callable[[Measured], float]] = {
    "taken in, jobs/s": lambda side: side.jobs / side.added_s,
    "worked off, jobs/s": lambda side: side.jobs / side.worked_s,
    "end to end, jobs/s": lambda side: side.a_second,
    "CPU of the client, us a job": lambda side: side.client_cpu_s / side.jobs * 1e6,
    "CPU of the server, us a job": lambda side: side.server_cpu_s / side.jobs * 1e6,
    "CPU of both, us a job": lambda side: side.cpu_us,
    "jobs/s a core, client and server": lambda side: 1e6 / side.cpu_us,
}


def _bound(ours: Measured, bullmq: Measured | None, floor: LedgerFloor) -> Table:
    table = Table(
        "engine: the bound of its ledger, the same rows by bare sqlite3 without queue or index",
        ("what", "jobs/s", "against BullMQ", "CPU us a job"),
    )
    for what, rate, cpu_us in (
        ("the rows alone", floor.a_second, floor.cpu_us),
        ("ours, end to end", ours.a_second, ours.cpu_us),
    ):
        table.add(what, figure(rate), "-" if bullmq is None else ratio(rate, bullmq.a_second), figure(cpu_us))
    table.notes.append(
        "the rows alone: 1,000 jobs a transaction; an engine that writes them in such transactions is not faster"
    )
    return table


async def _documents(options: Options) -> Table:
    table = Table(
        f"engine: {JOBS:,} jobs worked off, without and with a document that is stored later",
        ("pages", "worked off, jobs/s", "CPU of all, us a job", "against the first"),
    )
    first_us = 0.0
    for documents, what in ((False, "empty: one transaction"), (True, "with a document: two")):
        async with _server(options.folder / f"server-d{documents}") as server:
            folder = options.folder / f"engine-d{documents}"
            measured = await _ours(server, folder, JOBS, most=JOBS, documents=documents)
        cpu_us = measured.cpu_us
        first_us = first_us or cpu_us
        table.add(what, figure(measured.jobs / measured.worked_s), figure(cpu_us), ratio(cpu_us, first_us))
    table.notes.append("CPU of working off alone, client and server together; no page is cleaned in either")
    return table


async def _dispatchers(options: Options) -> Table:
    table = Table(
        f"engine: {JOBS:,} jobs by 1, 2 and 4 dispatcher processes that share one server and one ledger",
        ("dispatchers", "end to end, jobs/s", "against 1", "CPU of all, us a job"),
    )
    alone = 0.0
    for number in DISPATCHERS:
        async with _server(options.folder / f"server-{number}") as server:
            measured = await _ours(server, options.folder / f"engine-{number}", JOBS, dispatchers=number)
        alone = alone or measured.a_second
        rate = figure(measured.a_second)
        table.add(str(number), rate, ratio(measured.a_second, alone), figure(measured.cpu_us))
    table.notes.append(f"{os.cpu_count()} cores for dispatchers, server and this bench; the ledger is one SQLite file")
    return table


async def _growth(options: Options) -> Table:
    table = Table(
        f"engine: {_GROWTH_JOBS:,} jobs worked off while more are queued",
        ("queued", "worked off, jobs/s", "CPU of the client, us a job", "of the server", "both against the first"),
    )
    first_us = 0.0
    for queued in options.queued:
        rounds = [await _worked_off(options, queued) for _ in range(_GROWTH_ROUNDS)]
        rate = statistics.median(_GROWTH_JOBS / each.worked_s for each in rounds)
        client_us = statistics.median(each.client_cpu_s / _GROWTH_JOBS * 1e6 for each in rounds)
        server_us = statistics.median(each.server_cpu_s / _GROWTH_JOBS * 1e6 for each in rounds)
        first_us = first_us or client_us + server_us
        table.add(
            *(f"{queued:,}", figure(rate), figure(client_us), figure(server_us)),
            ratio(client_us + server_us, first_us),
        )
    table.notes.append(
        "CPU of working off alone: lease, settle, finish. What the submissions left to be done, such as the ledger's"
        f" checkpoint, is done before; medians of {_GROWTH_ROUNDS} rounds"
    )
    return table


async def _worked_off(options: Options, queued: int) -> Measured:
    async with _server(options.folder / "server-q") as server:
        folder = options.folder / "engine-q"
        measured = await _ours(server, folder, queued, most=_GROWTH_JOBS)
    shutil.rmtree(folder)
    return measured


async def _ours(
    server: "_Server",
    folder: Path,
    jobs: int,
    *,
    dispatchers: int = 1,
    most: int | None = None,
    documents: bool = False,
) -> Measured:
    folder.mkdir(parents=True)
    namespace = secrets.token_hex(4)
    ledger = f"sqlite:///{folder / LEDGER}"
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.engine_worker", ledger, server.url, namespace, str(jobs // dispatchers)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(dispatchers)
    ]
    before = server.cpu_s()
    added = await _step(workers, "submit")
    if most is not None:
        await _step(workers, "rest")
        before = server.cpu_s()
    worked = await _step(workers, "work" if most is None else f"work {most}{' documents' * documents}")
    after = server.cpu_s()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
        await worker.wait()
    steps = worked if most is not None else [*added, *worked]
    return Measured(
        jobs=jobs,
        added_s=max(step.seconds for step in added),
        worked_s=max(step.seconds for step in worked),
        client_cpu_s=sum(step.cpu_seconds for step in steps),
        server_cpu_s=after - before,
        server=server.name,
    )


async def _step(workers: Sequence[asyncio.subprocess.Process], what: str) -> list[Step]:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{what}\n".encode())
    steps = []
    for worker in workers:
        assert worker.stdout is not None
        line = await worker.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended while it was to {what}")
        steps.append(msgspec.json.decode(line, type=Step))
    return steps


async def _bullmq(server: "_Server") -> Measured | None:
    if not (_RIVALS / "node_modules").exists() or shutil.which("node") is None:
        return None
    return await _rival(server, ["node", str(_RIVALS / "bullmq.mjs")], JOBS)


async def _arq(server: "_Server") -> Measured | None:
    python = _RIVALS / ".venv" / "bin" / "python"
    if not python.exists():
        return None
    return await _rival(server, [str(python), str(_RIVALS / "arq_jobs.py")], _ARQ_JOBS)


async def _rival(server: "_Server", command: Sequence[str], jobs: int) -> Measured:
    before = server.cpu_s()
    numbers = (server.port, jobs, _RIVAL_CONCURRENT, SUBMITTED_AT_ONCE)
    process = await asyncio.create_subprocess_exec(*command, *map(str, numbers), stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{command[-1]} failed")
    result = json.loads(said.splitlines()[-1])
    return Measured(jobs, result["added_s"], result["worked_s"], result["cpu_s"], server.cpu_s() - before, server.name)


@dataclass(frozen=True, slots=True)
class _Server:
    """A running server of this bench. `port` is one on loopback."""

    name: str
    url: str
    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU seconds of the server so far."""
        return cpu_seconds(self.process)


@contextlib.asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[_Server]:
    """A server of this bench's own, its append-only file synced every second."""
    options = {"appendonly": "yes", "appendfsync": "everysec", "auto-aof-rewrite-percentage": "0"}
    server = RedisServer(options=options, data=folder)
    with server:
        process = psutil.Process(server.pid)
        yield _Server(process.name(), server.url, server.port, process)
    shutil.rmtree(folder, ignore_errors=True)
