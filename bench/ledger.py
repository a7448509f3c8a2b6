"""Rows a second the ledger takes, each call answered once its rows are durable, beside the same rows written by hand.

Counted on both sides are rows of tables: those a call inserts or changes. Storing a result is four: the log entry, the
result, the credit and the job's change of state. Submitting a batch of n jobs is n and two: the batch and its counts.
The sums the ledger keeps for each node and batch, and what it reads and locks to check, come on top of that and are not
counted. The other side inserts as many rows with the same values, a job's change of state as a row of `jobs`: into
plain tables without anything but a primary key, and into tables like the ledger's own, with its indexes and references.
It writes whole batches in a call for each table; into plain tables also with a call for each row, a commit a batch, and
with a commit for each row. Every side begins each round with an empty database.

Every figure is the median of `ROUNDS` rounds in which the sides take turns. CPU is that of this process and of the
database server's together.
"""

import asyncio
import contextlib
import hashlib
import itertools
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from bench.ledger_rivals import (
    POOL,
    Cost,
    CpuClock,
    Plain,
    Row,
    Rows,
    Timer,
    Work,
    aiosqlite_cost,
    asyncpg_copy_cost,
    asyncpg_insert_cost,
    asyncpg_row_cost,
)
from bench.options import Options
from bench.table import Table, figure, ratio
from dispatcher.adapters import sql_schema as schema
from dispatcher.adapters.sql_ledger import open_ledger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.jobs import Batch, BatchCounts, Job, ScrapeOptions
from dispatcher.ledger import Ledger, NewResult
from tests.servers import PostgresServer, missing_postgres

IN_FLIGHT = ((1, 300), (100, 5_000), (1_000, 15_000))
"""How many callers wait at once, each for one call, and how many calls they make in all."""
_RESULT_ROWS = 4
_BATCH_ROWS = 2
LARGE_JOBS, LARGE_BATCHES = 1_000, 20
_SINGLE_ROWS = 1_000
_CALLED_ROWS = 10_000
_RECORD_BYTES = 700
ROUNDS = 3
_HEADINGS = (
    *("calls; by hand", "ours", "plain tables", "ratio", "same tables", "ratio"),
    *("a row a call", "ratio", "a row a commit", "ratio"),
)
_CPU_HEADINGS = ("calls; by hand", "ours", "plain tables", "ratio", "same tables", "ratio")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the ledger, the other side in batches into plain tables and into the same ones, with a call and with a
    commit for each row."""

    ours: Cost
    plain: Cost
    same: Cost
    row_a_call: Cost
    row_a_commit: Cost


class Side(ABC):
    """A database, and how rows are written to it by hand."""

    title: str

    @abstractmethod
    def url(self, name: str) -> str:
        """The address of a new database."""

    @abstractmethod
    def cpu_s(self) -> float:
        """CPU seconds of this process and of the server so far."""

    @abstractmethod
    async def batched(self, url: str, work: Work, batch: int, *, own_tables: bool) -> Cost:
        """Write in batches."""

    @abstractmethod
    async def row_a_call(self, url: str, work: Work, batch: int) -> Cost:
        """Write with a call for each row, a commit a batch."""

    @abstractmethod
    async def row_a_commit(self, url: str, work: Work, callers: int) -> Cost:
        """Write with a commit a row."""


class Sqlite(Side):
    title = "SQLite: {} (by hand: aiosqlite, executemany; both WAL, synchronous=FULL)"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, name: str) -> str:
        return f"sqlite:///{self._folder / name}.sqlite3"

    def cpu_s(self) -> float:
        return time.process_time()

    async def batched(self, url: str, work: Work, batch: int, *, own_tables: bool) -> Cost:
        path = Path(url.removeprefix("sqlite:///"))
        return await aiosqlite_cost(path, work, batch, self.cpu_s, own_tables=own_tables)

    async def row_a_call(self, url: str, work: Work, batch: int) -> Cost:
        path = Path(url.removeprefix("sqlite:///"))
        return await aiosqlite_cost(path, work, batch, self.cpu_s, row_by_row=True)

    async def row_a_commit(self, url: str, work: Work, callers: int) -> Cost:
        return await aiosqlite_cost(Path(url.removeprefix("sqlite:///")), work, 1, self.cpu_s)


class Postgres(Side):
    title = "PostgreSQL: {} (by hand: asyncpg, COPY; both fsync on)"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def url(self, name: str) -> str:
        self._server.execute(f'CREATE DATABASE "{name}"')
        return self._server.url_of(name)

    def cpu_s(self) -> float:
        first = psutil.Process(self._server.pid)
        used = sum(first.cpu_times()[:4])
        for process in first.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                used += sum(process.cpu_times()[:2])
        return used + time.process_time()

    async def batched(self, url: str, work: Work, batch: int, *, own_tables: bool) -> Cost:
        return await asyncpg_copy_cost(url, work, batch, self.cpu_s, own_tables=own_tables)

    async def row_a_call(self, url: str, work: Work, batch: int) -> Cost:
        return await asyncpg_row_cost(url, work, batch, self.cpu_s)

    async def row_a_commit(self, url: str, work: Work, callers: int) -> Cost:
        return await asyncpg_insert_cost(url, work, callers, self.cpu_s)


async def run(options: Options) -> list[Table]:
    """Measure results and submissions on both databases."""
    tables = await _measured(Sqlite(options.folder))
    if reason := missing_postgres():
        tables[-1].notes.append(f"PostgreSQL was not measured: {reason}")
    else:
        with PostgresServer() as server:
            tables += await _measured(Postgres(server))
    tables[-1].notes.append(
        f"a row a call, a row a commit: into plain tables; asyncpg commits rows over up to {POOL} connections"
    )
    return tables


async def _measured(side: Side) -> list[Table]:
    rates = Table(f"ledger on {side.title.format('rows/s')}", _HEADINGS)
    cpu = Table(f"ledger on {side.title.format('CPU microseconds a row')}", _CPU_HEADINGS)
    for in_flight, calls in IN_FLIGHT:
        store = partial(_store, side.cpu_s, in_flight, calls)
        rounds = [await _round(side, store, _results(calls), in_flight) for _ in range(ROUNDS)]
        _add(rates, cpu, f"results, {in_flight:,} in flight; {_batches(in_flight)}", rounds)
    for in_flight, calls in IN_FLIGHT:
        store = partial(_submit, side.cpu_s, in_flight, calls, 1)
        rounds = [await _round(side, store, _submissions(calls, 1), in_flight) for _ in range(ROUNDS)]
        _add(rates, cpu, f"submissions of 1 job, {in_flight:,} in flight; {_batches(in_flight)}", rounds)
    store = partial(_submit, side.cpu_s, 1, LARGE_BATCHES, LARGE_JOBS)
    work = _submissions(LARGE_BATCHES, LARGE_JOBS)
    rounds = [await _round(side, store, work, LARGE_JOBS) for _ in range(ROUNDS)]
    _add(rates, cpu, f"submissions of {LARGE_JOBS:,} jobs; {_batches(LARGE_JOBS)}", rounds)
    return [rates, cpu]


async def _round(side: Side, store: Callable[[Ledger], Awaitable[Cost]], work: Work, batch: int) -> Round:
    """Measure every way once."""
    name = f"round{next(_numbers)}"
    part = work if batch > 1 else work.first(_SINGLE_ROWS)
    few = work.first(_SINGLE_ROWS)
    ledger = await open_ledger(side.url(f"{name}-ours"))
    try:
        ours = await store(ledger)
    finally:
        await ledger.close()
    same = side.url(f"{name}-same")
    await (await open_ledger(same)).close()
    return Round(
        ours,
        await side.batched(side.url(f"{name}-plain"), part, batch, own_tables=False),
        await side.batched(same, part, batch, own_tables=True),
        await side.row_a_call(side.url(f"{name}-calls"), few if batch == 1 else work.first(_CALLED_ROWS), batch),
        await side.row_a_commit(side.url(f"{name}-commits"), few, batch),
    )


def _add(rates: Table, cpu: Table, what: str, rounds: Sequence[Round]) -> None:
    def middle(cost: Callable[[Round], float]) -> float:
        return statistics.median(map(cost, rounds))

    ours = middle(lambda one: one.ours.rate)
    cells: list[str] = []
    for other in (
        middle(lambda one: one.plain.rate),
        middle(lambda one: one.same.rate),
        middle(lambda one: one.row_a_call.rate),
        middle(lambda one: one.row_a_commit.rate),
    ):
        cells += [figure(other), ratio(ours, other)]
    rates.add(what, figure(ours), *cells)
    our_us = middle(lambda one: one.ours.cpu_us)
    cells = []
    for other in (middle(lambda one: one.plain.cpu_us), middle(lambda one: one.same.cpu_us)):
        cells += [figure(other), ratio(our_us, other)]
    cpu.add(what, figure(our_us), *cells)


def _batches(rows: int) -> str:
    return "a commit a row" if rows == 1 else f"batches of {rows:,} rows"


async def _store(cpu: CpuClock, in_flight: int, calls: int, ledger: Ledger) -> Cost:
    batch = _batch()
    jobs = _jobs(batch, calls)
    await ledger.submit(batch, jobs)
    results = [_result(job.job_id) for job in jobs]
    timer = Timer(cpu)
    await _all(ledger.store_result, results, in_flight)
    return timer.cost(_RESULT_ROWS * calls)


async def _submit(cpu: CpuClock, in_flight: int, calls: int, jobs: int, ledger: Ledger) -> Cost:
    async def submit(offered: tuple[Batch, list[Job]]) -> Batch:
        return await ledger.submit(*offered)

    batches = [_batch() for _ in range(calls)]
    offered = [(batch, _jobs(batch, jobs)) for batch in batches]
    timer = Timer(cpu)
    await _all(submit, offered, in_flight)
    return timer.cost((_BATCH_ROWS + jobs) * calls)


async def _all(work: Callable[[Item], Awaitable[object]], items: Sequence[Item], in_flight: int) -> None:
    queue = iter(items)

    async def caller() -> None:
        for item in queue:
            await work(item)

    await asyncio.gather(*(caller() for _ in range(in_flight)))


def _results(calls: int) -> Work:
    batch = _batch()
    jobs = [msgspec.structs.replace(job, state="fetched") for job in _jobs(batch, calls)]
    results = [_result(job.job_id) for job in jobs]
    rows: Rows = {
        Plain(schema.jobs): _job_rows(jobs),
        Plain(schema.log_entries): [(index, result.record) for index, result in enumerate(results)],
        Plain(schema.results): [
            (
                result.job_id,
                result.node_key,
                result.body_hash,
                result.body_bytes,
                result.wire_bytes,
                result.robots_hash,
                result.stored_ms,
                index,
            )
            for index, result in enumerate(results)
        ],
        Plain(schema.credits): [
            (
                result.job_id,
                result.node_key,
                result.wallet,
                result.reward,
                "pending",
                None,
                result.stored_ms,
                result.hold_until_ms,
                index,
                None,
            )
            for index, result in enumerate(results)
        ],
    }
    return Work(rows, before={Plain(schema.batches): [_batch_row(batch)]})


def _submissions(calls: int, jobs: int) -> Work:
    batches = [_batch() for _ in range(calls)]
    counts = msgspec.structs.astuple(BatchCounts(queued=jobs))
    rows: Rows = {
        Plain(schema.batches): [_batch_row(batch) for batch in batches],
        Plain(schema.batch_counts): [(batch.batch_id, *counts) for batch in batches],
        Plain(schema.jobs): [row for batch in batches for row in _job_rows(_jobs(batch, jobs))],
    }
    return Work(rows)


def _batch_row(batch: Batch) -> Row:
    options = msgspec.json.encode(batch.options).decode()
    row = (batch.batch_id, batch.team_id, batch.kind, options, "[]", batch.created_ms)
    return (*row, *(None,) * (len(schema.batches.columns) - len(row)))


def _job_rows(jobs: Sequence[Job]) -> list[Row]:
    missing = len(schema.jobs.columns) - len(Job.__struct_fields__)
    return [(*msgspec.structs.astuple(job), *(None,) * missing) for job in jobs]


def _batch() -> Batch:
    return Batch(batch_id=new_id(), team_id="bench", kind="batch_scrape", options=ScrapeOptions(), created_ms=now_ms())


def _jobs(batch: Batch, count: int) -> list[Job]:
    created_ms = now_ms()
    return [
        Job(
            job_id=new_id(),
            batch_id=batch.batch_id,
            team_id=batch.team_id,
            position=position,
            url=f"https://site{position % 97}.example/section/{position}/a-page-with-a-name",
            host=f"site{position % 97}.example",
            created_ms=created_ms,
            updated_ms=created_ms,
            deadline_ms=created_ms + 3_600_000,
        )
        for position in range(count)
    ]


_numbers = itertools.count()


def _result(job_id: str) -> NewResult:
    record = f"record of {job_id}".encode().ljust(_RECORD_BYTES, b".")
    return NewResult(
        job_id=job_id,
        node_key=f"node-{next(_numbers) % 20}",
        wallet="wallet",
        record=record,
        body_hash=hashlib.sha256(record).hexdigest(),
        body_bytes=130_000,
        wire_bytes=25_000,
        robots_hash=None,
        stored_ms=now_ms(),
        reward=10,
        hold_until_ms=now_ms() + 100,
    )
