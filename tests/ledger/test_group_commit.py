"""The one writer: who shares a transaction, who fails alone, and what waits for what."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.errors import LedgerError
from dispatcher.ledger import Ledger

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database


async def test_one_failing_operation_of_a_group_fails_alone(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 100)
    await ledger.submit(batch, jobs)
    results = [rows.result(job.job_id) for job in jobs]
    results[30] = msgspec.structs.replace(results[30], reward=-5)
    results[60] = msgspec.structs.replace(results[60], body_bytes=2**70)
    answers = await asyncio.gather(*map(ledger.store_result, results), return_exceptions=True)
    failed = [place for place, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [30, 60]
    assert all(isinstance(answers[place], LedgerError) for place in failed)
    assert await ledger.log_size() == 98
    assert {job.position for job in await ledger.unfinished()} == {30, 60}


async def test_a_group_is_one_transaction(ledger: Ledger, rows: Rows, database: Database) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 500)
    await ledger.submit(batch, jobs)
    sizes: set[int] = set()
    stored = asyncio.gather(*(ledger.store_result(rows.result(job.job_id)) for job in jobs))
    while not stored.done():
        [(size,)] = await database.run("SELECT count(*) FROM results")
        sizes.add(size)
        await asyncio.sleep(0)
    await stored
    assert await database.run("SELECT count(*) FROM results") == [(500,)]
    assert sizes <= {0, 500}


async def test_a_caller_that_stops_waiting_does_not_disturb_the_group(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 20)
    await ledger.submit(batch, jobs)
    tasks = [asyncio.create_task(ledger.store_result(rows.result(job.job_id))) for job in jobs]
    await asyncio.sleep(0)
    tasks[3].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[3], asyncio.CancelledError)
    assert await ledger.log_size() == 20


async def test_close_finishes_what_was_taken_and_refuses_what_comes_later(database: Database, rows: Rows) -> None:
    ledger = await database.open()
    batch = rows.batch()
    jobs = rows.jobs(batch, 50)
    await ledger.submit(batch, jobs)
    tasks = [asyncio.create_task(ledger.store_result(rows.result(job.job_id))) for job in jobs]
    await asyncio.sleep(0)
    await ledger.close()
    assert {settlement.outcome for settlement in await asyncio.gather(*tasks)} == {"stored"}
    with pytest.raises(LedgerError, match="closed"):
        await ledger.append_entry(b"late")
    with pytest.raises(LedgerError, match="closed"):
        await ledger.log_size()
    async with database.ledger() as again:
        assert await again.log_size() == 50


async def test_reads_see_nothing_that_is_not_committed(ledger: Ledger, rows: Rows, database: Database) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 2_000)
    await ledger.submit(batch, jobs)
    storing = asyncio.gather(*(ledger.store_result(rows.result(job.job_id)) for job in jobs))
    while not storing.done():
        results = await ledger.results([job.job_id for job in jobs])
        credits = await ledger.credits_of(list(results))
        assert set(results) == set(credits)
        assert await database.broken() == []
    await storing


async def test_ten_thousand_results_in_flight_are_stored_within_seconds(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 10_000)
    await ledger.submit(batch, jobs)
    started = time.monotonic()
    await asyncio.gather(*(ledger.store_result(rows.result(job.job_id)) for job in jobs))
    elapsed_s = time.monotonic() - started
    assert elapsed_s < 10
    assert (await ledger.counts(batch.batch_id)).fetched == 10_000


async def test_each_row_of_a_large_group_gets_its_own_values(ledger: Ledger, rows: Rows) -> None:
    batches = [rows.batch() for _ in range(150)]
    jobs = [rows.jobs(batch, 1)[0] for batch in batches]
    await asyncio.gather(*(ledger.submit(batch, [job]) for batch, job in zip(batches, jobs, strict=True)))
    settled = await asyncio.gather(*(ledger.store_result(rows.result(job.job_id)) for job in reversed(jobs)))
    stored = await ledger.results([job.job_id for job in jobs])
    assert [stored[job.job_id].log_index for job in reversed(jobs)] == [answer.log_index for answer in settled]
    counts = [await ledger.counts(batch.batch_id) for batch in batches]
    assert {(each.queued, each.fetched, each.total) for each in counts} == {(0, 1, 1)}
