"""Maps a site while its lab waits: what its start page links to and what its site maps list, found in the time given.

The pages that this takes are fetched by nodes as any others, as jobs of a hidden batch: robots.txt and each host's
pace hold, and every fetch is in the log.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.caller import Caller
from dispatcher.crawl_engine import CrawlEngine
from dispatcher.crawl_ledger import MAX_MAP_DEPTH, MAX_MAPS
from dispatcher.ending_tasks import end_tasks
from dispatcher.job_queue import JobQueue
from dispatcher.job_recall import JobRecall
from dispatcher.jobs import TERMINAL, Batch, Job, JobState, ScrapeOptions, record_of
from dispatcher.ledger import Ledger
from dispatcher.map_request import MAX_LIMIT, MapRequest
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import load_body
from dispatcher.page_finds import PageReader
from dispatcher.site_links import MappedLink, SiteLinks
from dispatcher.submissions import with_purpose
from protocol.urls import NO_TEST_SITES, AllowedUrl, TestSites, check_url

_MARGIN_S: Final = 0.25
"""So much of the time is left for the answer itself."""
_POLL_S: Final = 0.5
_SHOWN_REASONS: Final = 3


class MapService:
    """Serves labs."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        objects: ObjectStore,
        reader: PageReader,
        engine: CrawlEngine,
        queue: JobQueue,
        recall: JobRecall,
        options: BatchOptions,
        events: BatchEvents,
        clock: Callable[[], int],
        test_sites: TestSites = NO_TEST_SITES,
    ) -> None:
        self._ledger, self._objects, self._reader, self._engine = ledger, objects, reader, engine
        self._queue, self._recall, self._options, self._events = queue, recall, options, events
        self._clock, self._test_sites = clock, test_sites

    async def map(self, caller: Caller, request: MapRequest) -> tuple[list[MappedLink], list[str]]:
        """Return a site's links, at most `request.limit` of them, and warnings: the time was up, or what failed."""
        options = with_purpose(request.options, request.named, caller)
        growth = self._engine.growth()
        batch = Batch(
            batch_id=growth.new_id(),
            team_id=caller.team_id,
            kind="discovery",
            options=ScrapeOptions(
                formats=(), purpose=options.purpose, country=options.country, accept_language=options.accept_language
            ),
            created_ms=growth.now_ms,
        )
        mapping = _Mapping(self, batch, request, test_sites=self._test_sites)
        try:
            async with asyncio.timeout(options.timeout_ms / 1000 - _MARGIN_S):
                await mapping.run()
        except TimeoutError:
            mapping.warnings.insert(0, f"the time of {options.timeout_ms} ms is up: these are the links found so far")
        finally:
            await asyncio.shield(self._stop(batch.batch_id))
        return mapping.links.ranked(request.search)[: request.limit], mapping.warnings

    async def _stop(self, batch_id: str) -> None:
        cancelled = await self._ledger.cancel(batch_id, self._clock())
        if cancelled:
            await self._recall.recall(cancelled)

    async def begin(self, batch: Batch) -> None:
        """Store a map's batch."""
        await self._ledger.submit(batch, [])
        self._options.remember(batch.batch_id, batch.options)

    async def visit(self, batch: Batch, urls: Sequence[AllowedUrl]) -> list[str]:
        """Have pages fetched; the ids of their jobs, in order."""
        growth = self._engine.growth()
        jobs = [
            Job(
                job_id=growth.new_id(),
                batch_id=batch.batch_id,
                team_id=batch.team_id,
                position=0,
                url=url.href,
                host=url.origin_host,
                priority=1,
                created_ms=growth.now_ms,
                updated_ms=growth.now_ms,
                deadline_ms=growth.deadline_ms,
            )
            for url in urls
        ]
        extension = await self._ledger.extend(batch.team_id, batch.batch_id, jobs, now_ms=growth.now_ms)
        await self._queue.add(extension.jobs, batch.options)
        return [job.job_id for job in extension.jobs]

    async def ended(self, batch_id: str, job_ids: Sequence[str]) -> list[Job]:
        """Wait for a moment; those of these jobs that have ended."""
        await self._events.wait(batch_id, _POLL_S)
        return [job for job in await self._ledger.jobs(job_ids) if job.state in TERMINAL]

    async def site_maps(self, url: str) -> list[str]:
        """Where a site's maps may be."""
        return await self._engine.site_maps(url)

    async def read_page(self, job: Job, links: SiteLinks) -> None:
        """Take up what a page links to."""
        result = (await self._ledger.results([job.job_id])).get(job.job_id)
        record = None if result is None else record_of(result)
        body = None if record is None else await load_body(self._objects, record)
        if record is None or body is None:
            return
        links.add_site(record.final_url)
        read = await self._reader.links(body, url=record.final_url, content_type=record.content_type)
        links.add(record.final_url, read.title or "", read.description or "")
        for link in read.links:
            links.add(link.url, link.text)

    async def read_map(self, job: Job, links: SiteLinks) -> tuple[str, ...]:
        """Take up what a site map lists; the site maps that it names."""
        result = (await self._ledger.results([job.job_id])).get(job.job_id)
        record = None if result is None else record_of(result)
        if record is None or not 200 <= record.status < 300:
            return ()
        body = await load_body(self._objects, record)
        if body is None:
            return ()
        read = await self._reader.site_map(body, url=record.final_url)
        for href in read.pages:
            links.add(href)
        return read.maps


class _Mapping:
    """One map. `depths` are those of the site maps that are under way, by job."""

    def __init__(self, service: MapService, batch: Batch, request: MapRequest, *, test_sites: TestSites) -> None:
        self._service, self._batch, self._request, self._test_sites = service, batch, request, test_sites
        self.links = SiteLinks(
            request.start,
            include_subdomains=request.include_subdomains,
            ignore_query=request.ignore_query_parameters,
            most=MAX_LIMIT if request.search else request.limit,
            test_sites=test_sites,
        )
        self.warnings: list[str] = []
        self._page_id: str | None = None
        self._depths: dict[str, int] = {}
        self._known_maps: set[str] = set()
        self._asking: asyncio.Task[list[str]] | None = None

    async def run(self) -> None:
        """Find all there is."""
        await self._service.begin(self._batch)
        if self._request.sitemap != "only":
            (self._page_id,) = await self._service.visit(self._batch, [self._request.start])
        if self._request.sitemap != "skip":
            self._asking = asyncio.create_task(self._service.site_maps(self._request.start.href))
        try:
            while not self.links.is_full and (self._asking or self._page_id or self._depths):
                await self._step()
        finally:
            await end_tasks([self._asking] if self._asking else [])

    async def _step(self) -> None:
        if self._asking is not None and (self._asking.done() or not (self._page_id or self._depths)):
            named, self._asking = await self._asking, None
            await self._visit_maps(named, depth=0)
        waiting = [*([self._page_id] if self._page_id else []), *self._depths]
        if not waiting:
            return
        for job in await self._service.ended(self._batch.batch_id, waiting):
            await self._take(job)

    async def _take(self, job: Job) -> None:
        is_page = job.job_id == self._page_id
        depth = 0 if is_page else self._depths.pop(job.job_id)
        if is_page:
            self._page_id = None
        if job.state is not JobState.COMPLETED:
            if len(self.warnings) < _SHOWN_REASONS:
                reason = (job.reason or str(job.state)).replace("_", " ")
                self.warnings.append(f"{job.url}: {reason}{': ' + job.detail if job.detail else ''}")
        elif is_page:
            await self._service.read_page(job, self.links)
        else:
            maps = await self._service.read_map(job, self.links)
            if depth < MAX_MAP_DEPTH:
                await self._visit_maps(maps, depth=depth + 1)

    async def _visit_maps(self, hrefs: Sequence[str], *, depth: int) -> None:
        checked = [check_url(href, test_sites=self._test_sites) for href in dict.fromkeys(hrefs)]
        urls = [url for url in checked if isinstance(url, AllowedUrl) and url.href not in self._known_maps]
        urls = urls[: MAX_MAPS - len(self._known_maps)]
        if urls:
            self._known_maps.update(url.href for url in urls)
            job_ids = await self._service.visit(self._batch, urls)
            self._depths.update(dict.fromkeys(job_ids, depth))
