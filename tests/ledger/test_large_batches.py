"""A batch that is stored in parts: seen whole or not at all, and nobody waits for all of it."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.adapters import sql_batches
from dispatcher.adapters.sql_batches import PART_JOBS, Submission
from dispatcher.errors import IdempotencyConflict, LedgerError
from dispatcher.jobs import BatchCounts, JobState

if TYPE_CHECKING:
    from dispatcher.adapters.sql_ledger import SqlLedger
    from dispatcher.jobs import Batch
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database

NUMBER = 2 * PART_JOBS + 500
HOUR_MS = 3_600_000


async def left_open(ledger: SqlLedger, rows: Rows) -> Batch:
    """What a process that is killed after the first part leaves."""
    batch = rows.batch()
    jobs = rows.jobs(batch, PART_JOBS)
    submission = Submission(batch=batch, jobs=jobs, idempotency_key="k", request_hash="h")
    await ledger._sql.write_one(partial(sql_batches._open, submission))
    await ledger._sql.write_one(partial(sql_batches._add_part, batch.batch_id, jobs))
    return batch


async def seen(ledger: SqlLedger, batch: Batch) -> list[object]:
    return [
        await ledger.batch(batch.batch_id),
        (await ledger.counts(batch.batch_id)).total,
        (await ledger.job_counts()).total,
        len(await ledger.jobs_of(batch.batch_id)),
        len(await ledger.unfinished()),
        len(await ledger.overdue(2**60)),
        len(await ledger.recent_jobs(5)),
    ]


NOTHING = [None, 0, 0, 0, 0, 0, 0]


async def test_a_batch_in_parts_reads_back_as_it_was_submitted(ledger: SqlLedger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, NUMBER)
    assert await ledger.submit(batch, jobs, idempotency_key="k", request_hash="h") == batch
    assert await ledger.jobs_of(batch.batch_id, limit=NUMBER + 1) == jobs
    assert await ledger.counts(batch.batch_id) == BatchCounts(queued=NUMBER)
    again = rows.batch()
    assert await ledger.submit(again, rows.jobs(again, NUMBER), idempotency_key="k", request_hash="h") == batch
    with pytest.raises(IdempotencyConflict):
        await ledger.submit(again, rows.jobs(again, NUMBER), idempotency_key="k", request_hash="other")
    assert await ledger.job_counts() == BatchCounts(queued=NUMBER)


async def test_parts_that_a_crash_left_are_seen_by_nobody_and_dropped_when_they_are_old(
    database: Database, rows: Rows
) -> None:
    async with database.ledger() as ledger:
        assert isinstance(ledger, sql_batches.SqlBatches)
        batch = await left_open(ledger, rows)  # type: ignore[arg-type]
        assert await seen(ledger, batch) == NOTHING  # type: ignore[arg-type]
        assert await database.run("SELECT count(*) FROM jobs") == [(PART_JOBS,)]
    assert await database.broken() == []
    await database.run(f"UPDATE open_batches SET opened_ms = {int(time.time() * 1000) - HOUR_MS + 60_000}")
    async with database.ledger():
        assert await database.run("SELECT count(*) FROM open_batches") == [(1,)]
    await database.run(f"UPDATE open_batches SET opened_ms = {int(time.time() * 1000) - HOUR_MS}")
    async with database.ledger() as ledger:
        for table in ("open_batches", "jobs", "batches", "batch_counts", "idempotency_keys"):
            assert await database.run(f"SELECT count(*) FROM {table}") == [(0,)], table
        stored = rows.batch()
        assert await ledger.submit(stored, [], idempotency_key="k", request_hash="h") == stored
    assert await database.broken() == []


async def test_a_file_that_one_dispatcher_has_alone_is_rid_of_them_at_once(
    sqlite_ledger: SqlLedger, rows: Rows
) -> None:
    batch = await left_open(sqlite_ledger, rows)
    await sqlite_ledger.drop_left_open(2**62)
    assert await seen(sqlite_ledger, batch) == NOTHING


async def test_a_part_that_is_refused_leaves_nothing(ledger: SqlLedger, database: Database, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, NUMBER)
    jobs[-1] = msgspec.structs.replace(jobs[-1], job_id=jobs[0].job_id)
    with pytest.raises(LedgerError, match="refused a write"):
        await ledger.submit(batch, jobs)
    assert await seen(ledger, batch) == NOTHING
    assert await database.run("SELECT count(*) FROM jobs") == [(0,)]


async def test_a_caller_that_stops_waiting_does_not_undo_a_batch_in_parts(ledger: SqlLedger, rows: Rows) -> None:
    batch = rows.batch()
    task = asyncio.create_task(ledger.submit(batch, rows.jobs(batch, NUMBER)))
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(30):
        while await ledger.batch(batch.batch_id) is None:
            await asyncio.sleep(0.01)
    assert await ledger.counts(batch.batch_id) == BatchCounts(queued=NUMBER)


async def test_others_are_answered_between_the_parts(ledger: SqlLedger, rows: Rows) -> None:
    batch = rows.batch()
    submission = asyncio.create_task(ledger.submit(batch, rows.jobs(batch, 10 * PART_JOBS)))
    answered = 0
    while not submission.done():
        await ledger.append_entry(b"entry %d" % answered)
        answered += 1
    await submission
    assert answered >= 8
    assert {job.state for job in await ledger.unfinished(limit=10)} == {JobState.QUEUED}
