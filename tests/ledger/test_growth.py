"""Batches that grow, and windows that let a batch out bit by bit, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.batch_growth import Extension, behind_window, not_held
from dispatcher.errors import IdempotencyConflict
from dispatcher.jobs import HELD_DEADLINE_MS, Batch, BatchCounts, Job, JobState, ScrapeOptions
from dispatcher.ledger import Ledger

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database

NOW_MS = 1_780_000_000_000
LATER_MS = NOW_MS + 60_000


@pytest.fixture
async def other(database: Database, ledger: Ledger) -> AsyncIterator[Ledger]:
    """The ledger of another dispatcher."""
    async with database.ledger() as opened:
        yield opened


async def submitted(ledger: Ledger, rows: Rows, number: int, options: ScrapeOptions | None = None) -> Batch:
    batch = rows.batch(options=options)
    most = batch.options.max_concurrency
    await ledger.submit(batch, behind_window(rows.jobs(batch, number), most))
    return batch


async def extended(
    ledger: Ledger, batch: Batch, jobs: list[Job], *, idempotency_key: str | None = None, request_hash: str = ""
) -> Extension:
    return await ledger.extend(
        batch.team_id,
        batch.batch_id,
        jobs,
        now_ms=NOW_MS,
        idempotency_key=idempotency_key,
        request_hash=request_hash,
    )


async def released(ledger: Ledger, batch: Batch, now_ms: int = NOW_MS) -> list[int]:
    found = await ledger.release(batch.batch_id, now_ms=now_ms, deadline_ms=LATER_MS)
    assert all(job.deadline_ms == LATER_MS for job in found.jobs)
    return [job.position for job in found.jobs]


async def finish(ledger: Ledger, rows: Rows, batch: Batch, position: int) -> None:
    (job,) = await ledger.jobs_of(batch.batch_id, from_position=position, limit=1)
    await ledger.store_result(rows.result(job.job_id))
    await ledger.complete(job.job_id, document_hash=None, dropped="no_text", now_ms=NOW_MS + 5)


async def test_added_jobs_go_on_behind_the_last_and_count(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 3)
    await finish(ledger, rows, batch, 1)
    more = rows.jobs(batch, 2)
    extension = await extended(ledger, batch, more)
    assert extension.outcome == "added"
    assert [(job.job_id, job.position) for job in extension.jobs] == [(more[0].job_id, 3), (more[1].job_id, 4)]
    assert await ledger.counts(batch.batch_id) == BatchCounts(queued=4, completed=1)
    assert await ledger.jobs_of(batch.batch_id, from_position=3) == list(extension.jobs)


async def test_only_the_teams_own_batch_that_is_not_cancelled_takes_more(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 1)
    single = msgspec.structs.replace(rows.batch(), kind="scrape")
    await ledger.submit(single, [])
    assert (await ledger.extend("other", batch.batch_id, rows.jobs(batch, 1), now_ms=NOW_MS)).outcome == "unknown"
    assert (await extended(ledger, single, rows.jobs(single, 1))).outcome == "unknown"
    assert (await extended(ledger, rows.batch(), [])).outcome == "unknown"
    await ledger.cancel(batch.batch_id, NOW_MS)
    assert (await extended(ledger, batch, rows.jobs(batch, 1))).outcome == "over"
    assert await ledger.counts(batch.batch_id) == BatchCounts(cancelled=1)


async def test_an_ended_batch_takes_more(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 1)
    await finish(ledger, rows, batch, 0)
    assert (await extended(ledger, batch, rows.jobs(batch, 1))).outcome == "added"
    assert await ledger.counts(batch.batch_id) == BatchCounts(queued=1, completed=1)


async def test_a_repeated_key_adds_nothing(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 1)
    key = {"idempotency_key": "k", "request_hash": "h"}
    assert (await extended(ledger, batch, rows.jobs(batch, 2), **key)).outcome == "added"
    assert (await extended(ledger, batch, rows.jobs(batch, 2), **key)).outcome == "repeated"
    with pytest.raises(IdempotencyConflict, match="'k'"):
        await extended(ledger, batch, rows.jobs(batch, 2), idempotency_key="k", request_hash="other")
    assert (await ledger.counts(batch.batch_id)).total == 3
    await ledger.cancel(batch.batch_id, NOW_MS)
    assert (await extended(ledger, batch, rows.jobs(batch, 2), **key)).outcome == "repeated"


async def test_two_dispatchers_add_at_once(ledger: Ledger, other: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 1)
    additions = [rows.jobs(batch, 3) for _ in range(20)]
    done = await asyncio.gather(
        *(extended((ledger, other)[place % 2], batch, jobs) for place, jobs in enumerate(additions))
    )
    assert {extension.outcome for extension in done} == {"added"}
    assert [job.position for job in await ledger.jobs_of(batch.batch_id)] == list(range(61))


async def test_nothing_is_added_after_a_cancel(ledger: Ledger, other: Ledger, rows: Rows) -> None:
    for _ in range(5):
        batch = await submitted(ledger, rows, 1)
        work = [extended(other, batch, rows.jobs(batch, 3)) for _ in range(6)]
        cancelling = asyncio.create_task(ledger.cancel(batch.batch_id, NOW_MS))
        extensions = await asyncio.gather(*work)
        await cancelling
        counts = await ledger.counts(batch.batch_id)
        added = sum(extension.outcome == "added" for extension in extensions)
        assert counts == BatchCounts(cancelled=1 + 3 * added)


async def test_a_window_lets_out_as_many_as_have_ended(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 5, ScrapeOptions(max_concurrency=2))
    assert [job.position for job in await ledger.unfinished()] == [0, 1]
    assert await ledger.open_windows() == [batch.batch_id]
    assert await released(ledger, batch) == []
    await finish(ledger, rows, batch, 1)
    assert await released(ledger, batch) == [2]
    assert await released(ledger, batch) == []
    for position in (0, 2):
        await finish(ledger, rows, batch, position)
    assert await released(ledger, batch) == [3, 4]
    assert await ledger.open_windows() == []
    assert [job.position for job in await ledger.unfinished()] == [3, 4]
    extension = await extended(ledger, batch, rows.jobs(batch, 2))
    assert (extension.outcome, extension.jobs) == ("added", ())
    assert await ledger.open_windows() == [batch.batch_id]
    for position in (3, 4):
        await finish(ledger, rows, batch, position)
    assert await released(ledger, batch) == [5, 6]


async def test_a_small_batch_fills_its_window_when_it_grows(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 1, ScrapeOptions(max_concurrency=3))
    assert await ledger.open_windows() == []
    extension = await extended(ledger, batch, rows.jobs(batch, 4))
    assert [job.position for job in extension.jobs] == [1, 2]
    assert all(job.deadline_ms < HELD_DEADLINE_MS for job in extension.jobs)


async def test_a_delay_counts_from_the_end_of_the_last_one(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 2, ScrapeOptions(max_concurrency=1, delay_ms=1_000))
    await finish(ledger, rows, batch, 0)
    early = await ledger.release(batch.batch_id, now_ms=NOW_MS + 1_004, deadline_ms=LATER_MS)
    assert (early.jobs, early.due_ms) == ((), NOW_MS + 1_005)
    assert await released(ledger, batch, NOW_MS + 1_005) == [1]


async def test_held_jobs_are_cancelled_and_never_overdue(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 4, ScrapeOptions(max_concurrency=1))
    assert [job.position for job in await ledger.overdue(2**61)] == [0]
    assert len(await ledger.cancel(batch.batch_id, NOW_MS) or []) == 4
    assert await released(ledger, batch) == []
    assert await ledger.open_windows() == []
    assert {job.state for job in await ledger.jobs_of(batch.batch_id)} == {JobState.CANCELLED}


async def test_two_dispatchers_let_each_job_out_once(ledger: Ledger, other: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 40, ScrapeOptions(max_concurrency=4))
    out = [0, 1, 2, 3]
    while len(out) < 40:
        for position in out[-4:]:
            await finish(ledger, rows, batch, position)
        found = await asyncio.gather(*(released((ledger, other)[turn % 2], batch) for turn in range(6)))
        new = sorted(position for positions in found for position in positions)
        assert new == list(range(out[-1] + 1, min(40, out[-1] + 5)))
        out += new


async def test_a_large_batch_with_a_window_is_held_in_every_part(ledger: Ledger, rows: Rows) -> None:
    batch = await submitted(ledger, rows, 2_500, ScrapeOptions(max_concurrency=2))
    assert [job.position for job in await ledger.unfinished()] == [0, 1]
    await finish(ledger, rows, batch, 0)
    assert await released(ledger, batch) == [2]


def test_a_window_holds_what_it_has_no_room_for(rows: Rows) -> None:
    jobs = rows.jobs(rows.batch(), 5)
    assert behind_window(jobs, None) == jobs
    assert not_held(behind_window(jobs, 2)) == jobs[:2]
