"""Two dispatchers on one database: nothing twice, no gap, no deadlock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.conduct import Ending, LeaseEnd
from dispatcher.errors import IdempotencyConflict
from dispatcher.jobs import Batch, BatchCounts, Job
from dispatcher.ledger import Epoch, Ledger, SignedTransaction, StoredCheckpoint

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database

NOW_MS = 1_780_000_000_000


@pytest.fixture
async def ledgers(database: Database) -> AsyncIterator[list[Ledger]]:
    async with database.ledger() as first, database.ledger() as second:
        yield [first, second]
    assert await database.broken() == []


async def submitted(ledger: Ledger, rows: Rows, number: int) -> tuple[Batch, list[Job]]:
    batch = rows.batch()
    jobs = rows.jobs(batch, number)
    await ledger.submit(batch, jobs)
    return batch, jobs


async def test_what_one_stores_the_other_reads(ledgers: list[Ledger], rows: Rows) -> None:
    batch, jobs = await submitted(ledgers[0], rows, 3)
    assert await ledgers[1].jobs_of(batch.batch_id) == jobs
    await ledgers[1].store_result(rows.result(jobs[0].job_id))
    assert (await ledgers[0].store_result(rows.result(jobs[0].job_id))).outcome == "duplicate"
    assert (await ledgers[0].store_result(rows.result(jobs[0].job_id, node="other"))).outcome == "stale"
    assert await ledgers[0].counts(batch.batch_id) == BatchCounts(queued=2, fetched=1)


async def test_results_offered_to_both_are_stored_once_with_indexes_without_a_gap(
    ledgers: list[Ledger], rows: Rows
) -> None:
    _, jobs = await submitted(ledgers[0], rows, 300)

    async def deliver(ledger: Ledger, job: Job, node: str) -> str:
        return (await ledger.store_result(rows.result(job.job_id, node=node))).outcome

    offers: list[Awaitable[str]] = []
    for place, job in enumerate(jobs):
        first, second = ledgers[place % 2], ledgers[1 - place % 2]
        offers += [deliver(first, job, "node-a"), deliver(second, job, "node-a"), deliver(second, job, "node-b")]
        if place % 3 == 0:
            offers.append(ledgers[place % 2].append_entry(b"statement %d" % (place % 30)))  # type: ignore[arg-type]
    outcomes = await asyncio.gather(*offers)
    assert outcomes.count("stored") == 300
    assert await ledgers[0].log_size() == 310
    entries = await ledgers[1].entries(0, 1_000)
    assert [entry.index for entry in entries] == list(range(310))
    assert len({entry.statement for entry in entries}) == 310
    totals = await ledgers[0].credit_total()
    assert (totals.results, totals.pending) == (300, 3_000)
    assert (await ledgers[1].job_counts()).fetched == 300


async def test_one_key_makes_one_batch_wherever_it_is_submitted(ledgers: list[Ledger], rows: Rows) -> None:
    offered: list[Awaitable[Batch]] = []
    for number in range(60):
        batch = rows.batch()
        submit = ledgers[number % 2].submit
        offered.append(submit(batch, rows.jobs(batch, 2), idempotency_key=f"k{number % 7}", request_hash="h"))
    stored = await asyncio.gather(*offered)
    assert len({batch.batch_id for batch in stored}) == 7
    for number, batch in enumerate(stored):
        assert batch.batch_id == stored[number % 7].batch_id
    assert len(await ledgers[0].unfinished()) == 14
    other = rows.batch()
    with pytest.raises(IdempotencyConflict):
        await ledgers[1].submit(other, [], idempotency_key="k0", request_hash="another")


async def test_a_large_batch_appears_whole_and_once(ledgers: list[Ledger], rows: Rows) -> None:
    batches = [rows.batch() for _ in range(2)]
    submissions = asyncio.gather(
        *(
            ledger.submit(batch, rows.jobs(batch, 2_500), idempotency_key="k", request_hash="h")
            for ledger, batch in zip(ledgers, batches, strict=True)
        )
    )
    seen: set[int] = set()
    while not submissions.done():
        seen.add((await ledgers[0].job_counts()).queued)
        await asyncio.sleep(0.005)
    first, second = await submissions
    assert first == second
    assert seen <= {0, 2_500}
    assert await ledgers[1].job_counts() == BatchCounts(queued=2_500)


async def test_credits_are_confirmed_and_go_into_an_epoch_once(ledgers: list[Ledger], rows: Rows) -> None:
    _, jobs = await submitted(ledgers[0], rows, 200)
    await asyncio.gather(
        *(
            ledgers[place % 2].store_result(
                rows.result(job.job_id, node=f"node-{place % 3}", hold_until_ms=NOW_MS + place % 5)
            )
            for place, job in enumerate(jobs)
        )
    )
    confirmed = await asyncio.gather(*(ledger.confirm_credits(NOW_MS + 3) for ledger in ledgers * 3))
    assert sum(confirmed) == 160
    assert (await ledgers[0].credit_total()).confirmed == 1_600
    free = await ledgers[0].confirmed_credits(below_log_index=1_000, limit=1_000)
    ids = [credit.job_id for credit in free]
    epochs = [Epoch(number=number, statement=b"%d" % number, total=1_600, created_ms=NOW_MS) for number in range(2)]
    opened = await asyncio.gather(
        *(ledgers[place % 2].open_epoch(epochs[place // 2 % 2], ids[::-1] if place % 2 else ids) for place in range(8))
    )
    assert opened.count(True) == 1
    (epoch,) = await ledgers[1].epochs()
    await asyncio.gather(*(ledger.mark_epoch_paid(epoch.number, NOW_MS + 9) for ledger in ledgers * 2))
    totals = await ledgers[1].credit_total()
    assert (totals.pending, totals.confirmed, totals.paid) == (400, 0, 1_600)


async def test_checkpoints_transactions_and_duties_have_one_winner(ledgers: list[Ledger]) -> None:
    for number in range(4):
        await ledgers[0].append_entry(b"%d" % number)
    checkpoints = [
        StoredCheckpoint(size=size, root=b"r", note=f"{size}\n", created_ms=NOW_MS, anchor_sequence=sequence)
        for sequence, size in enumerate((2, 3, 4, 4))
    ]
    added = await asyncio.gather(
        *(ledgers[place % 2].add_checkpoint(offered, previous_size=0) for place, offered in enumerate(checkpoints))
    )
    assert added.count(True) == 1
    transactions = [
        SignedTransaction(
            purpose="anchor/0",
            signature=f"s{number}",
            raw=b"r",
            last_valid_block_height=1,
            state="signed",
            created_ms=NOW_MS,
        )
        for number in range(10)
    ]
    for attempt in (1, 2):
        put = await asyncio.gather(
            *(
                ledgers[place % 2].put_transaction(
                    msgspec.structs.replace(offered, attempt=attempt, signature=f"{offered.signature}/{attempt}")
                )
                for place, offered in enumerate(transactions)
            )
        )
        assert put.count(True) == 1
    assert len(await ledgers[0].unconfirmed_transactions()) == 1
    led = await asyncio.gather(
        *(ledgers[n % 2].lead("log", holder=f"d{n}", now_ms=NOW_MS, lease_ms=5_000) for n in range(10))
    )
    assert sum(leadership is not None for leadership in led) == 1


@pytest.mark.parametrize("seed", range(2))
async def test_everything_at_once_from_both_sides_comes_to_an_end(ledgers: list[Ledger], seed: int, rows: Rows) -> None:
    """Both take the same rows in opposite orders: a deadlock would fail a call, or hold it for good."""
    batch, jobs = await submitted(ledgers[0], rows, 120)
    nodes = [f"node-{n}" for n in range(4)]

    def calls(ledger: Ledger, order: list[Job]) -> list[Awaitable[object]]:
        made: list[Awaitable[object]] = []
        for place, job in enumerate(order):
            node = nodes[(place + seed) % 4]
            end = LeaseEnd(node_key=nodes[place % 4], lease=place, ending=Ending.FAILED)
            made.append(ledger.note_attempt(job.job_id, reason="r", detail="", now_ms=NOW_MS, end=end))
            if place % 3 == 0:
                made.append(ledger.store_result(rows.result(job.job_id, node=node, hold_until_ms=NOW_MS)))
                made.append(ledger.complete(job.job_id, document_hash=None, dropped="empty", now_ms=NOW_MS))
            elif place % 3 == 1:
                made.append(ledger.fail(job.job_id, reason="r", detail="", now_ms=NOW_MS))
            if place % 10 == 0:
                made.append(ledger.append_entry(b"entry %d" % place))
                made.append(ledger.confirm_credits(NOW_MS))
                made += [ledger.lead(duty, holder=str(id(ledger)), now_ms=NOW_MS, lease_ms=9) for duty in ("a", "b")]
                made.append(ledger.agree({"x": "1", "y": "2"}))
            if place % 40 == 39:
                made.append(ledger.cancel(batch.batch_id, NOW_MS))
        return made

    async with asyncio.timeout(30):
        await asyncio.gather(*calls(ledgers[0], jobs), *calls(ledgers[1], jobs[::-1]))
    counts = await ledgers[0].counts(batch.batch_id)
    assert counts.total == 120
    assert counts.queued == 0
