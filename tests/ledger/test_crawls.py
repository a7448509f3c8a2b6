"""Crawls in the ledger, on both databases: every page once, none lost, and an end that is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.crawl_ledger import MAX_MAPS, Finds, Grown, Growth, NewCrawl
from dispatcher.crawl_scope import FoundUrl
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.errors import IdempotencyConflict
from dispatcher.jobs import Batch, BatchCounts, Job, JobState, ScrapeOptions
from dispatcher.ledger import Ledger

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database

NOW_MS = 1_780_000_000_000
SITE = "https://site.example/"


@pytest.fixture
async def other(database: Database, ledger: Ledger) -> AsyncIterator[Ledger]:
    """The ledger of another dispatcher."""
    async with database.ledger() as opened:
        yield opened


def found(name: str, depth: int = 1) -> FoundUrl:
    return FoundUrl(name.rjust(64, "."), f"{SITE}{name}", "site.example", depth)


def names(jobs: tuple[Job, ...] | list[Job]) -> list[str]:
    return [job.url.removeprefix(SITE) for job in jobs]


class Crawling:
    """A crawl that is driven by hand, by either of two dispatchers."""

    def __init__(self, ledgers: list[Ledger], rows: Rows, **spec: int | str) -> None:
        self.ledgers, self.rows = ledgers, rows
        self.spec = msgspec.convert({"url": SITE, **spec}, CrawlSpec)
        options = ScrapeOptions(max_concurrency=self.spec.max_concurrency)
        self.batch = msgspec.structs.replace(rows.batch(options=options), kind="crawl")
        self.growth = Growth(new_id=rows.new_id, now_ms=NOW_MS, deadline_ms=NOW_MS + 60_000)

    @property
    def crawl_id(self) -> str:
        return self.batch.batch_id

    async def begin(self) -> list[Job]:
        start = None if self.spec.sitemap == "only" else found("", 0)
        new = NewCrawl(batch=self.batch, spec=self.spec, start=start, is_seeded=self.spec.sitemap == "skip")
        _, jobs = await self.ledgers[0].start_crawl(new, self.growth)
        return list(jobs)

    async def end(self, job: Job) -> None:
        assert (await self.ledgers[0].store_result(self.rows.result(job.job_id))).outcome == "stored"
        assert await self.ledgers[0].complete(job.job_id, document_hash=None, dropped="no_text", now_ms=NOW_MS + 1)

    async def refuse(self, job: Job) -> None:
        assert await self.ledgers[0].refuse(job.job_id, reason="robots_disallowed", detail="", now_ms=NOW_MS + 1)

    async def read(self, job: Job, *links: str, turn: int = 0, **more: object) -> Grown:
        finds = Finds(job_id=job.job_id, pages=tuple(found(link) for link in links), **more)  # type: ignore[arg-type]
        return await self.ledgers[turn].read_pages(self.crawl_id, [finds], self.growth)

    async def visit(self, job: Job, *links: str) -> Grown:
        await self.end(job)
        return await self.read(job, *links)

    async def seed(self, *maps: str) -> Grown:
        discovery = msgspec.structs.replace(self.rows.batch(), kind="discovery")
        listed = [found(name, 0) for name in maps]
        return await self.ledgers[0].seed_crawl(self.crawl_id, discovery, listed, self.growth)

    async def counts(self) -> BatchCounts:
        return await self.ledgers[0].counts(self.crawl_id)

    async def has_ended(self) -> bool:
        crawl = await self.ledgers[0].crawl(self.crawl_id)
        assert crawl is not None
        return crawl.ended_ms is not None


async def test_a_site_without_maps_is_read_to_its_end(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, sitemap="skip")
    (start,) = await crawl.begin()
    assert (start.url, start.position) == (SITE, 0)
    stored = await ledger.crawl(crawl.crawl_id)
    assert stored is not None and stored.spec == crawl.spec
    assert [row.batch_id for row in await ledger.running_crawls(team_id="team")] == [crawl.crawl_id]
    assert await ledger.running_crawls(team_id="other") == []
    grown = await crawl.visit(start, "a", "b", "a", "")
    assert (names(grown.jobs), grown.has_ended) == (["a", "b"], False)
    first, second = grown.jobs
    assert (await crawl.visit(first, "b", "a")).jobs == ()
    assert not await crawl.has_ended()
    grown = await crawl.visit(second, "c")
    (third,) = grown.jobs
    assert (await crawl.visit(third)).has_ended
    assert await crawl.counts() == BatchCounts(completed=4)
    assert await ledger.running_crawls() == []


async def test_a_page_is_read_once_by_whoever(ledger: Ledger, other: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger, other], rows, sitemap="skip")
    (start,) = await crawl.begin()
    assert await ledger.unread_pages(crawl.crawl_id) == []
    await crawl.end(start)
    (page,) = await ledger.unread_pages(crawl.crawl_id)
    assert (page.job_id, page.depth, page.is_map, page.state) == (start.job_id, 0, False, JobState.COMPLETED)
    assert await other.pages_to_read([start.job_id, "unknown"]) == [page]
    grown = await asyncio.gather(*(crawl.read(start, "a", "b", turn=turn % 2) for turn in range(10)))
    assert sorted(len(each.jobs) for each in grown) == [0] * 9 + [2]
    assert await crawl.counts() == BatchCounts(queued=2, completed=1)
    assert await ledger.unread_pages(crawl.crawl_id) == []


async def test_pages_that_share_links_read_at_once_make_each_a_job_once(
    ledger: Ledger, other: Ledger, rows: Rows
) -> None:
    crawl = Crawling([ledger, other], rows, sitemap="skip")
    (start,) = await crawl.begin()
    grown = await crawl.visit(start, *(f"p{number}" for number in range(8)))
    for job in grown.jobs:
        await crawl.end(job)
    shared = [f"q{number}" for number in range(20)]
    done = await asyncio.gather(*(crawl.read(job, *shared, turn=place % 2) for place, job in enumerate(grown.jobs)))
    assert sorted(name for each in done for name in names(each.jobs)) == sorted(shared)
    jobs = await ledger.jobs_of(crawl.crawl_id)
    assert [job.position for job in jobs] == list(range(29))
    assert len({job.url for job in jobs}) == 29


async def test_the_limit_is_exact_and_a_refusal_makes_room(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, sitemap="skip", limit=3)
    (start,) = await crawl.begin()
    grown = await crawl.visit(start, "a", "b", "c", "d", "e")
    assert names(grown.jobs) == ["a", "b"]
    stored = await ledger.crawl(crawl.crawl_id)
    assert stored is not None and stored.waiting == 3
    await crawl.refuse(grown.jobs[0])
    (third,) = (await crawl.read(grown.jobs[0])).jobs
    assert names([third]) == ["c"]
    assert (await crawl.visit(grown.jobs[1], "f")).jobs == ()
    assert (await crawl.visit(third, "g")).has_ended
    assert await crawl.counts() == BatchCounts(completed=3, refused=1)


async def test_what_waits_goes_by_depth_and_what_finds_no_room_is_counted(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, sitemap="skip", limit=1)
    (start,) = await crawl.begin()
    deep, near = [found(f"deep{n}", 2) for n in range(3)], [found(f"near{n}", 1) for n in range(1_100)]
    await crawl.refuse(start)
    grown = await ledger.read_pages(crawl.crawl_id, [Finds(job_id=start.job_id, pages=(*deep, *near))], crawl.growth)
    assert names(grown.jobs) == ["near0"]
    stored = await ledger.crawl(crawl.crawl_id)
    assert stored is not None and (stored.waiting, stored.left_out) == (1_000, 102)


async def test_the_addresses_a_page_came_by_are_known(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, sitemap="skip")
    (start,) = await crawl.begin()
    await crawl.end(start)
    grown = await crawl.read(start, "home", "a", own_keys=(found("home").key,))
    assert names(grown.jobs) == ["a"]


async def test_site_maps_are_jobs_of_a_batch_of_their_own(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows)
    (start,) = await crawl.begin()
    assert not (await crawl.visit(start)).has_ended
    grown = await crawl.seed("map1", "map2", "map1")
    assert names(grown.maps) == ["map1", "map2"]
    assert (await crawl.seed("map3")).maps == ()
    stored = await ledger.crawl(crawl.crawl_id)
    assert stored is not None and stored.discovery_id is not None
    assert await ledger.crawl_of(stored.discovery_id) == await ledger.crawl_of(crawl.crawl_id) == crawl.crawl_id
    assert await ledger.crawl_of("unknown") is None
    first, second = grown.maps
    await crawl.end(first)
    grown = await crawl.read(first, "a", maps=(found("map2"), found("nested")))
    assert (names(grown.jobs), names(grown.maps)) == (["a"], ["nested"])
    (page,) = grown.jobs
    for job in (second, *grown.maps):
        await crawl.visit(job)
    assert await crawl.counts() == BatchCounts(queued=1, completed=1)
    assert (await crawl.visit(page)).has_ended


async def test_without_site_maps_and_pages_there_is_an_end_too(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, sitemap="only")
    assert await crawl.begin() == []
    assert (await crawl.seed()).has_ended
    assert await crawl.counts() == BatchCounts()


async def test_a_full_crawl_waits_for_no_site_map(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, limit=1)
    (start,) = await crawl.begin()
    crawl_of_two = Crawling([ledger], rows, limit=2)
    (begin,) = await crawl_of_two.begin()
    (of_site,) = (await crawl_of_two.seed("map")).maps
    assert (await crawl.seed("map")).maps == ()
    assert (await crawl.visit(start, "a")).has_ended
    (page,) = (await crawl_of_two.visit(begin, "a")).jobs
    grown = await crawl_of_two.visit(page, "b")
    assert (grown.has_ended, grown.needless) == (True, (of_site.job_id,))


async def test_site_maps_are_bounded(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows)
    await crawl.begin()
    assert len((await crawl.seed(*(f"map{n}" for n in range(MAX_MAPS + 5)))).maps) == MAX_MAPS


async def test_nothing_is_added_to_a_cancelled_crawl(ledger: Ledger, other: Ledger, rows: Rows) -> None:
    for _ in range(4):
        crawl = Crawling([ledger, other], rows)
        (start,) = await crawl.begin()
        grown = await crawl.visit(start, "a", "b", "c")
        (of_site,) = (await crawl.seed("map")).maps
        for job in grown.jobs:
            await crawl.end(job)
        reading = [crawl.read(job, f"{job.position}x", f"{job.position}y", turn=1) for job in grown.jobs]
        cancelling = asyncio.create_task(ledger.cancel_crawl(crawl.crawl_id, NOW_MS + 9))
        await asyncio.gather(*reading)
        cancelled = await cancelling
        assert cancelled is not None and of_site.job_id in cancelled
        counts = await crawl.counts()
        assert (counts.queued, counts.completed) == (0, 4)
        assert counts.cancelled == len(cancelled) - 1
        assert (await crawl.seed("late")).maps == ()
        assert await ledger.cancel_crawl(crawl.crawl_id, NOW_MS) is None
        batch = await ledger.batch(crawl.crawl_id)
        assert batch is not None and batch.cancelled_ms == NOW_MS + 9


async def test_a_crawl_between_two_pages_can_be_cancelled_and_an_ended_one_cannot(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, sitemap="skip")
    (start,) = await crawl.begin()
    await crawl.end(start)
    assert await ledger.cancel_crawl(crawl.crawl_id, NOW_MS) == []
    assert (await crawl.read(start, "a")).jobs == ()
    ended = Crawling([ledger], rows, sitemap="skip")
    (only,) = await ended.begin()
    assert (await ended.visit(only)).has_ended
    assert await ledger.cancel_crawl(ended.crawl_id, NOW_MS) is None


async def test_a_crawl_with_a_window_lets_out_what_it_finds_bit_by_bit(ledger: Ledger, rows: Rows) -> None:
    crawl = Crawling([ledger], rows, sitemap="skip", maxConcurrency=2)
    (start,) = await crawl.begin()
    grown = await crawl.visit(start, "a", "b", "c")
    assert names(grown.jobs) == ["a", "b"]
    assert await crawl.counts() == BatchCounts(queued=3, completed=1)
    assert (await crawl.visit(grown.jobs[0])).jobs == ()
    released = await ledger.release(crawl.crawl_id, now_ms=NOW_MS, deadline_ms=NOW_MS + 5)
    assert names(released.jobs) == ["c"]


async def test_a_repeated_key_starts_no_second_crawl(ledger: Ledger, rows: Rows) -> None:
    first, second = Crawling([ledger], rows), Crawling([ledger], rows)

    async def start(crawl: Crawling, request_hash: str) -> tuple[Batch, tuple[Job, ...]]:
        new = NewCrawl(batch=crawl.batch, spec=crawl.spec, start=found("", 0), is_seeded=False)
        return await ledger.start_crawl(new, crawl.growth, idempotency_key="k", request_hash=request_hash)

    stored, jobs = await start(first, "h")
    assert (stored.batch_id, len(jobs)) == (first.crawl_id, 1)
    assert await start(second, "h") == (stored, ())
    assert await ledger.crawl(second.crawl_id) is None
    with pytest.raises(IdempotencyConflict):
        await start(second, "other")
