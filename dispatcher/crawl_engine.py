"""Keeps crawls growing and batches with a window going: reads what has ended, and queues what comes of it.

Whichever dispatcher ends a job attends to its batch at once. What a dispatcher that died left is found by every other,
which looks at the crawls and windows that are open now and then. Two may do the same: the ledger takes up each page
once and lets out each job once.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from cleaning.errors import CleaningError
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.crawl_ledger import Crawl, CrawlPage, Finds, Grown, Growth
from dispatcher.ending_tasks import end_tasks
from dispatcher.errors import StoreError
from dispatcher.gate import Gate
from dispatcher.job_queue import JobQueue
from dispatcher.job_recall import JobRecall
from dispatcher.jobs import Batch, ScrapeOptions, record_of
from dispatcher.ledger import Ledger
from dispatcher.page_finds import PageFinds, is_start, maps_of
from protocol.urls import AllowedUrl, TestSites

_log = structlog.get_logger("crawl")
_WORKERS: Final = 2
_PAGES_AT_ONCE: Final = 20
_RETRY_S: Final = 1.0
_LOOK_S: Final = 5.0
LEFT_MS: Final = 3_000
"""Pages that ended so long ago and are not read were left by a dispatcher that died."""
_UNSEEDED_MS: Final = 60_000
"""A crawl that was accepted so long ago and knows no site maps yet was left too: its site had time to answer."""
_MOST_KNOWN: Final = 20_000
_SEEDS_AT_ONCE: Final = 16
_MOST_FROM_ROBOTS: Final = 20


class _Kind(NamedTuple):
    """What is to be done when a job of a batch ends: read it for a crawl, let held jobs out."""

    crawl_id: str | None
    has_window: bool


@dataclass(slots=True)
class _Due:
    """What waits to be done for a batch: ended jobs that are known, or a look at all of it."""

    job_ids: set[str] = field(default_factory=set)
    look: bool = False


class CrawlEngine:
    """Owns what this dispatcher has yet to attend to; nothing of it is lost with it."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        finds: PageFinds,
        gate: Gate,
        queue: JobQueue,
        recall: JobRecall,
        options: BatchOptions,
        events: BatchEvents,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        fraction: Callable[[], float],
        job_deadline_ms: int,
        test_sites: TestSites,
    ) -> None:
        self._ledger, self._finds, self._gate = ledger, finds, gate
        self._queue, self._recall, self._options, self._events = queue, recall, options, events
        self._clock, self._new_id, self._fraction = clock, new_id, fraction
        self._job_deadline_ms, self._test_sites = job_deadline_ms, test_sites
        self._kinds: OrderedDict[str, _Kind] = OrderedDict()
        self._due: dict[str, _Due] = {}
        self._turns: asyncio.Queue[str] = asyncio.Queue()
        self._seeding: dict[str, asyncio.Task[None]] = {}
        self._seed_places = asyncio.Semaphore(_SEEDS_AT_ONCE)
        self._started_ms = clock()
        events.listen(self._on_ended)

    def begin(self, crawl: Crawl) -> None:
        """A crawl was accepted here: look for its site maps."""
        self._seed_soon(crawl)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._recover())
                for _ in range(_WORKERS):
                    group.create_task(self._work())
        finally:
            await end_tasks(list(self._seeding.values()))

    def growth(self) -> Growth:
        """Return what jobs that are made now are made with."""
        now_ms = self._clock()
        return Growth(new_id=self._new_id, now_ms=now_ms, deadline_ms=now_ms + self._job_deadline_ms)

    def _on_ended(self, batch_id: str, job_id: str | None) -> None:
        known = self._kinds.get(batch_id)
        if known is None or known != _PLAIN:
            self._attend_soon(batch_id, () if job_id is None else (job_id,))

    def _attend_soon(self, batch_id: str, job_ids: Iterable[str] = ()) -> None:
        """Have a batch attended to: these ended jobs of it, or all of it."""
        due = self._due.get(batch_id)
        if due is None:
            due = self._due[batch_id] = _Due()
            self._turns.put_nowait(batch_id)
        known = set(job_ids)
        due.job_ids |= known
        due.look = due.look or not known

    async def _work(self) -> None:
        while True:
            batch_id = await self._turns.get()
            due = self._due.pop(batch_id)
            try:
                await self._attend(batch_id, due)
            except (StoreError, CleaningError) as error:
                _log.warning("crawl_step_failed", batch_id=batch_id, error=str(error))
                await asyncio.sleep(_RETRY_S)
                self._attend_soon(batch_id, due.job_ids)
                if due.look:
                    self._attend_soon(batch_id)

    async def _attend(self, batch_id: str, due: _Due) -> None:
        kind = await self._kind(batch_id)
        if kind.crawl_id is not None:
            await self._read(kind.crawl_id, due)
        if kind.has_window:
            await self._release(batch_id)

    async def _kind(self, batch_id: str) -> _Kind:
        kind = self._kinds.get(batch_id)
        if kind is None:
            batch = await self._ledger.batch(batch_id)
            is_of_crawl = batch is not None and batch.kind in {"crawl", "discovery"}
            crawl_id = await self._ledger.crawl_of(batch_id) if is_of_crawl else None
            kind = _Kind(crawl_id, has_window=batch is not None and batch.window is not None)
            self._know(batch_id, kind)
        return kind

    def _know(self, batch_id: str, kind: _Kind) -> None:
        self._kinds[batch_id] = kind
        while len(self._kinds) > _MOST_KNOWN:
            self._kinds.popitem(last=False)

    async def _read(self, crawl_id: str, due: _Due) -> None:
        crawl = await self._ledger.crawl(crawl_id)
        if crawl is None:
            return
        pages = await self._ledger.pages_to_read(sorted(due.job_ids)) if due.job_ids else []
        if due.look:
            known = {page.job_id for page in pages}
            pages += [page for page in await self._ledger.unread_pages(crawl_id) if page.job_id not in known]
        for start in range(0, len(pages), _PAGES_AT_ONCE):
            await self._read_some(crawl, pages[start : start + _PAGES_AT_ONCE])
        if not pages and crawl.ended_ms is None:
            await self._take_up(crawl, (), None)

    async def _read_some(self, crawl: Crawl, pages: list[CrawlPage]) -> None:
        job_ids = [page.job_id for page in pages]
        jobs = {job.job_id: job for job in await self._ledger.jobs(job_ids)}
        results = await self._ledger.results(job_ids)
        finds: list[Finds] = []
        site_url = None
        for page in pages:
            job, result = jobs[page.job_id], results.get(page.job_id)
            if crawl.ended_ms is not None:
                finds.append(Finds(job_id=page.job_id))
                continue
            finds.append(await self._finds.of(crawl, page, job, result))
            if result is not None and is_start(crawl, job):
                site_url = record_of(result).final_url
        await self._take_up(crawl, finds, site_url)

    async def _take_up(self, crawl: Crawl, finds: Iterable[Finds], site_url: str | None) -> None:
        grown = await self._ledger.read_pages(crawl.batch_id, list(finds), self.growth(), site_url=site_url)
        await self._queue_grown(crawl, grown)

    async def _queue_grown(self, crawl: Crawl, grown: Grown) -> None:
        if grown.jobs:
            await self._queue.add(grown.jobs, await self._options.of_one(crawl.batch_id))
        if grown.maps:
            await self._queue.add(grown.maps, await self._options.of_one(grown.maps[0].batch_id))
        if grown.needless:
            await self._recall.recall(grown.needless)
        if grown.jobs or grown.has_ended:
            self._events.moved(crawl.batch_id)

    async def _release(self, batch_id: str) -> None:
        growth = self.growth()
        released = await self._ledger.release(batch_id, now_ms=growth.now_ms, deadline_ms=growth.deadline_ms)
        if released.jobs:
            await self._queue.add(released.jobs, await self._options.of_one(batch_id))
        if released.due_ms is not None:
            wait_s = max(0, released.due_ms - growth.now_ms) / 1000
            asyncio.get_running_loop().call_later(wait_s, self._attend_soon, batch_id)

    def _seed_soon(self, crawl: Crawl) -> None:
        if crawl.seeded_ms is None and crawl.batch_id not in self._seeding:
            task = asyncio.create_task(self._seed(crawl), name=f"site maps of {crawl.batch_id}")
            self._seeding[crawl.batch_id] = task
            task.add_done_callback(lambda _: self._seeding.pop(crawl.batch_id, None))

    async def _seed(self, crawl: Crawl) -> None:
        """Ask a crawl's site for its site maps, once; another look makes up for a store that fails."""
        with contextlib.suppress(StoreError):
            async with self._seed_places:
                batch = await self._ledger.batch(crawl.batch_id)
                if batch is None:
                    return
                maps = await self.site_maps(crawl.url)
                discovery = discovery_batch(batch, self._new_id(), self._clock())
                found = maps_of(maps, depth=0, test_sites=self._test_sites)
                grown = await self._ledger.seed_crawl(crawl.batch_id, discovery, found, self.growth())
                if grown.maps:
                    self._options.remember(discovery.batch_id, discovery.options)
                    self._know(discovery.batch_id, _Kind(crawl.batch_id, has_window=False))
                await self._queue_grown(crawl, grown)

    async def site_maps(self, url: str) -> list[str]:
        """Return where a site's maps may be: those that its robots.txt names, else the usual place."""
        checked = self._gate.check_url(url)
        if not isinstance(checked, AllowedUrl):
            return []
        named = await self._gate.site_maps(checked)
        if named:
            return list(named[:_MOST_FROM_ROBOTS])
        return [f"{checked.origin}/sitemap.xml"]

    async def _recover(self) -> None:
        """Look for what nobody attends to: at once at the start, then now and then."""
        while True:
            try:
                await self.look_once()
            except StoreError as error:
                _log.warning("crawls_not_looked_at", error=str(error))
            await asyncio.sleep(_LOOK_S * (0.5 + self._fraction()))

    async def look_once(self, *, left_ms: int = LEFT_MS) -> None:
        """Once: attend to what ended `left_ms` ago or before and is not read, and to held jobs."""
        after = ""
        while crawls := await self._ledger.running_crawls(after=after):
            for crawl in crawls:
                await self._look_at(crawl, left_ms)
            after = crawls[-1].batch_id
        after = ""
        while windows := await self._ledger.open_windows(after=after):
            for batch_id in windows:
                self._attend_soon(batch_id)
            after = windows[-1]

    async def _look_at(self, crawl: Crawl, left_ms: int) -> None:
        now_ms = self._clock()
        if crawl.seeded_ms is None:
            if crawl.created_ms < self._started_ms or now_ms - crawl.created_ms > _UNSEEDED_MS:
                self._seed_soon(crawl)
            return
        pages = await self._ledger.counts(crawl.batch_id)
        ended, total = pages.ended, pages.total
        if crawl.discovery_id is not None:
            maps = await self._ledger.counts(crawl.discovery_id)
            ended, total = ended + maps.ended, total + maps.total
        read = crawl.read + crawl.maps_read
        if ended > read:
            left = [
                page.job_id
                for page in await self._ledger.unread_pages(crawl.batch_id)
                if page.updated_ms <= now_ms - left_ms
            ]
            if left:
                self._attend_soon(crawl.batch_id, left)
        elif read == total:
            # Everything is read, and yet it has not ended: whoever read the last of it died.
            self._attend_soon(crawl.batch_id)


_PLAIN: Final = _Kind(None, has_window=False)


def discovery_batch(batch: Batch, batch_id: str, now_ms: int) -> Batch:
    """Make the batch of a crawl's site maps: fetched as its pages are, and hidden."""
    options = batch.options
    return Batch(
        batch_id=batch_id,
        team_id=batch.team_id,
        kind="discovery",
        options=ScrapeOptions(
            formats=(),
            max_age_ms=options.max_age_ms,
            accept_language=options.accept_language,
            purpose=options.purpose,
            country=options.country,
            zero_data_retention=options.zero_data_retention,
        ),
        created_ms=now_ms,
    )
