"""Rows a second the ledger takes, each answered once it is durable, beside plain sqlite3 with one commit a row."""

import asyncio
import hashlib
import itertools
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bench.options import Options
from bench.table import Table, figure, ratio
from dispatcher.adapters.sqlite_ledger import SqliteLedger, open_sqlite_ledger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.jobs import Batch, Job, ScrapeOptions
from dispatcher.ledger import NewResult
from protocol.ids import uuid7

IN_FLIGHT = ((1, 400), (100, 6_000), (1_000, 20_000))
"""How many callers wait at once, and how many rows they store in all."""
_PLAIN_ROWS = 1_000
_ROW_BYTES = 300
_RECORD_BYTES = 700

Item = TypeVar("Item")


async def run(options: Options) -> list[Table]:
    """Measure results and submissions."""
    plain = await asyncio.to_thread(_plain_rows_a_second, options.folder / "plain.sqlite3")
    table = Table(
        "ledger: rows/s, synchronous=FULL (beside: sqlite3, the same settings, one commit a row of 300 bytes)"
    )
    ledger = await open_sqlite_ledger(options.folder / "ledger.sqlite3")
    try:
        for in_flight, rows in IN_FLIGHT:
            results = await _stored(ledger, in_flight, rows)
            table.add(f"store_result, {in_flight} in flight", figure(results), figure(plain), ratio(results, plain))
        for in_flight, rows in IN_FLIGHT:
            submits = await _submitted(ledger, in_flight, rows)
            table.add(f"submit of 1 job, {in_flight} in flight", figure(submits), figure(plain), ratio(submits, plain))
        jobs = await _submitted_at_once(ledger, 1_000, 20)
        table.add("submit of 1,000 jobs, jobs/s", figure(jobs), figure(plain), ratio(jobs, plain))
    finally:
        await ledger.close()
    table.notes.append("a stored result is a log entry, a result, a credit, the job's change of state and two totals")
    table.notes.append("aiosqlite is not installed, so it is not measured here")
    return [table]


async def _stored(ledger: SqliteLedger, in_flight: int, rows: int) -> float:
    batch = _batch()
    jobs = _jobs(batch, rows)
    await ledger.submit(batch, jobs)
    results = [_result(job.job_id) for job in jobs]
    return await _rate(ledger.store_result, results, in_flight)


async def _submitted(ledger: SqliteLedger, in_flight: int, rows: int) -> float:
    async def submit(offered: tuple[Batch, list[Job]]) -> Batch:
        return await ledger.submit(*offered)

    batches = [_batch() for _ in range(rows)]
    return await _rate(submit, [(batch, _jobs(batch, 1)) for batch in batches], in_flight)


async def _submitted_at_once(ledger: SqliteLedger, jobs: int, batches: int) -> float:
    offered = [(batch, _jobs(batch, jobs)) for batch in (_batch() for _ in range(batches))]
    started = time.perf_counter()
    for batch, rows in offered:
        await ledger.submit(batch, rows)
    return jobs * batches / (time.perf_counter() - started)


async def _rate(work: Callable[[Item], Awaitable[object]], items: Sequence[Item], in_flight: int) -> float:
    queue = iter(items)

    async def caller() -> None:
        for item in queue:
            await work(item)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return len(items) / (time.perf_counter() - started)


def _plain_rows_a_second(path: Path) -> float:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE plain (id TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID")
    data = secrets.token_bytes(_ROW_BYTES)
    started = time.perf_counter()
    for number in range(_PLAIN_ROWS):
        connection.execute("INSERT INTO plain VALUES (?, ?)", (uuid7(number, secrets.token_bytes(10)), data))
    seconds = time.perf_counter() - started
    connection.close()
    return _PLAIN_ROWS / seconds


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
