"""A key's own limits: never passed, however many ask at once, on both databases and at two dispatchers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.adapters.sql_batches import PART_JOBS
from dispatcher.batch_growth import not_held
from dispatcher.crawl_ledger import Growth, NewCrawl
from dispatcher.crawl_scope import FoundUrl
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.errors import ConcurrencyReached, DailyBudgetReached, TooManyRequests
from dispatcher.jobs import ApiKey, Batch
from tests.accounts.conftest import TEAM, Work, terms
from tests.ledger.conftest import NOW_MS

if TYPE_CHECKING:
    from dispatcher.ledger import Ledger
    from tests.ledger.databases import Database

MOST = 7
DAILY = 30


class Key:
    """A key with limits, and what is asked with it."""

    def __init__(self, ledger: Ledger, work: Work, *, most: int | None = MOST, daily: int | None = None) -> None:
        self.ledger, self.work, self.most, self.daily = ledger, work, most, daily
        self.key_id = work.rows.new_id()

    async def store(self) -> Key:
        key = ApiKey(
            key_id=self.key_id,
            team_id=TEAM,
            name="",
            prefix=f"mw_{self.key_id[-12:]}",
            mac=b"m",
            created_ms=NOW_MS,
            max_concurrency=self.most,
            daily_credits=self.daily,
        )
        await self.ledger.add_key(key)
        return self

    async def submit(self, pages: int, *, at: Ledger | None = None) -> Batch:
        batch = msgspec.structs.replace(self.work.rows.batch(), key_id=self.key_id)
        own = terms(pages, key_id=self.key_id, max_concurrency=self.most, daily_credits=self.daily)
        return await (at or self.ledger).submit(batch, self.work.rows.jobs(batch, pages), terms=own)

    async def extend(self, batch: Batch, pages: int, *, at: Ledger | None = None) -> None:
        step = f"added {self.work.rows.new_id()}"
        own = terms(pages, step=step, key_id=self.key_id, max_concurrency=self.most, daily_credits=self.daily)
        jobs = self.work.rows.jobs(batch, pages)
        await (at or self.ledger).extend(TEAM, batch.batch_id, jobs, now_ms=NOW_MS, terms=own)

    async def out(self) -> int:
        """How many pages are out, as the ledger's rows say."""
        unfinished = await self.ledger.unfinished(limit=10_000)
        return len(not_held(unfinished))


async def test_many_at_two_dispatchers_never_have_more_pages_out_than_their_key_may(
    ledger: Ledger, database: Database, work: Work
) -> None:
    key = await Key(ledger, work).store()
    async with database.ledger() as second:
        for _ in range(8):
            asked = [key.submit(1 + turn % 3, at=(ledger, second)[turn % 2]) for turn in range(16)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            stored = [answer for answer in answers if isinstance(answer, Batch)]
            refused = [answer for answer in answers if not isinstance(answer, Batch)]
            assert await key.out() == MOST
            assert refused
            assert all(isinstance(error, ConcurrencyReached) for error in refused), refused
            for batch in stored:
                await ledger.cancel(batch.batch_id, NOW_MS)


async def test_a_days_credits_are_not_passed_by_submissions_at_the_same_moment(
    ledger: Ledger, database: Database, work: Work
) -> None:
    key = await Key(ledger, work, most=None, daily=DAILY).store()
    async with database.ledger() as second:
        asked = [key.submit(4, at=(ledger, second)[turn % 2]) for turn in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Batch) for answer in answers) == DAILY // 4
    assert all(isinstance(answer, Batch | DailyBudgetReached) for answer in answers), answers


async def test_pages_that_wait_keep_the_places_that_they_will_take(ledger: Ledger, work: Work) -> None:
    key = await Key(ledger, work).store()
    batch = await key.submit(20)
    await work.finish(batch, refused=3)
    assert await key.out() == MOST - 3
    with pytest.raises(ConcurrencyReached, match="this key may have 7 pages in progress, and 7 are"):
        await key.submit(1)
    await ledger.release(batch.batch_id, now_ms=NOW_MS, deadline_ms=NOW_MS + 60_000)
    assert await key.out() == MOST


async def test_a_page_keeps_its_place_until_it_is_cleaned(ledger: Ledger, work: Work) -> None:
    key = await Key(ledger, work).store()
    batch = await key.submit(20)
    jobs = (await ledger.jobs_of(batch.batch_id))[:3]
    for job in jobs:
        await ledger.store_result(work.rows.result(job.job_id))
    until = {"now_ms": NOW_MS, "deadline_ms": NOW_MS + 60_000}
    assert (await ledger.release(batch.batch_id, **until)).jobs == ()
    assert (await ledger.key_standing(TEAM, key.key_id, day=0)).in_progress == MOST
    for job in jobs:
        await ledger.complete(job.job_id, document_hash=None, dropped="empty", now_ms=NOW_MS)
    assert len((await ledger.release(batch.batch_id, **until)).jobs) == 3
    assert (await ledger.key_standing(TEAM, key.key_id, day=0)).in_progress == MOST


async def test_a_batch_that_grows_beside_another_takes_only_the_places_that_are_left(
    ledger: Ledger, database: Database, work: Work
) -> None:
    key = await Key(ledger, work).store()
    first = await key.submit(2)
    await key.submit(3)
    async with database.ledger() as second:
        await asyncio.gather(
            *(key.extend(first, 4, at=desk) for desk in (ledger, second, ledger)),
            key.submit(3, at=second),
            return_exceptions=True,
        )
    assert await key.out() == MOST


async def test_a_crawl_keeps_as_many_places_as_it_may_use_at_once(ledger: Ledger, work: Work) -> None:
    key = await Key(ledger, work).store()
    await key.submit(2)
    batch = msgspec.structs.replace(work.rows.batch(), kind="crawl", key_id=key.key_id)
    spec = CrawlSpec(url="https://a.example/", limit=3)
    own = terms(3, key_id=key.key_id, max_concurrency=MOST, takes_less=True)
    crawl = NewCrawl(batch=batch, spec=spec, start=FoundUrl("a", "https://a.example/", "a.example", 0), is_seeded=True)
    growth = Growth(new_id=work.rows.new_id, now_ms=NOW_MS, deadline_ms=NOW_MS + 60_000)
    stored, jobs = await ledger.start_crawl(crawl, growth, terms=msgspec.structs.replace(own, pages=1))
    assert (stored.key_window, len(jobs)) == (3, 1)
    assert (await key.submit(9)).key_window == MOST - 2 - 3
    with pytest.raises(ConcurrencyReached):
        await key.submit(1)


async def test_large_batches_at_once_share_no_place(ledger: Ledger, database: Database, work: Work) -> None:
    key = await Key(ledger, work).store()
    async with database.ledger() as second:
        asked = [key.submit(PART_JOBS + 1, at=desk) for desk in (ledger, second)]
        answers = await asyncio.gather(*asked, key.submit(1), return_exceptions=True)
    assert await key.out() <= MOST
    assert any(isinstance(answer, Batch) for answer in answers)
    assert all(isinstance(answer, Batch | TooManyRequests) for answer in answers), answers
