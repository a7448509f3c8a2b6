"""What an ended job of a crawl leads to: the links of a page, the entries of a site map."""

from typing import Protocol

from cleaning.page_links import PageLinks
from cleaning.site_map import SiteMap
from dispatcher.crawl_ledger import MAX_MAP_DEPTH, Crawl, CrawlPage, Finds
from dispatcher.crawl_scope import FoundUrl, PathPatterns, Scope
from dispatcher.jobs import Job, JobState, Result, record_of
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import load_body, load_document
from dispatcher.similar_urls import map_key
from protocol.record import Record
from protocol.urls import NO_TEST_SITES, AllowedUrl, TestSites, check_url


class PageReader(Protocol):
    """The port: reads hostile pages and site maps where they can be killed. Raises CleaningError where it cannot be
    started, never for what a page contains."""

    async def links(self, body: bytes, *, url: str, content_type: str | None) -> PageLinks:
        """Read the links of a page."""
        ...

    async def site_map(self, body: bytes, *, url: str) -> SiteMap:
        """Read a site map."""
        ...


class PageFinds:
    """Finds out what a crawl's ended jobs lead to."""

    def __init__(
        self,
        *,
        objects: ObjectStore,
        reader: PageReader,
        patterns: PathPatterns,
        test_sites: TestSites = NO_TEST_SITES,
    ) -> None:
        self._objects, self._reader, self._patterns, self._test_sites = objects, reader, patterns, test_sites

    async def of(self, crawl: Crawl, page: CrawlPage, job: Job, result: Result | None) -> Finds:
        """Return what one job leads to: nothing where it brought no page."""
        if page.state is not JobState.COMPLETED or result is None:
            return Finds(job_id=page.job_id)
        record = record_of(result)
        scope = Scope(crawl.spec, site_url=crawl.site_url, patterns=self._patterns, test_sites=self._test_sites)
        if page.is_map:
            return await self._of_map(scope, page, job, record)
        if is_start(crawl, job):
            site_url = record.final_url
            scope = Scope(crawl.spec, site_url=site_url, patterns=self._patterns, test_sites=self._test_sites)
        links: list[str] = []
        if crawl.spec.sitemap != "only" and scope.admits_depth(page.depth + 1):
            links = await self._links(job, record)
        found = await scope.admitted(links, depth=page.depth + 1)
        own = [scope.check(href) for href in (*record.hops, record.final_url)]
        keys = tuple(scope.key(url) for url in own if isinstance(url, AllowedUrl))
        return Finds(job_id=page.job_id, own_keys=keys, pages=tuple(found))

    async def _links(self, job: Job, record: Record) -> list[str]:
        if job.document_hash is not None and (document := await load_document(self._objects, job.document_hash)):
            return [link.url for link in document.links]
        body = await load_body(self._objects, record)
        if body is None:
            return []
        read = await self._reader.links(body, url=record.final_url, content_type=record.content_type)
        return [link.url for link in read.links]

    async def _of_map(self, scope: Scope, page: CrawlPage, job: Job, record: Record) -> Finds:
        body = await load_body(self._objects, record) if 200 <= record.status < 300 else None
        if body is None:
            return Finds(job_id=page.job_id)
        read = await self._reader.site_map(body, url=record.final_url)
        maps = read.maps if page.depth < MAX_MAP_DEPTH else ()
        return Finds(
            job_id=page.job_id,
            own_keys=(map_key(record.final_url),),
            pages=tuple(await scope.admitted(read.pages, depth=0)),
            maps=tuple(maps_of(maps, depth=page.depth + 1, test_sites=self._test_sites)),
        )


def is_start(crawl: Crawl, job: Job) -> bool:
    """Tell whether a job is the crawl's start page: where it was found is where its site is."""
    return job.batch_id == crawl.batch_id and job.position == 0 and job.url == crawl.url


def maps_of(hrefs: tuple[str, ...] | list[str], *, depth: int, test_sites: TestSites) -> list[FoundUrl]:
    """Return the site maps among addresses that may be asked for."""
    checked = [check_url(href, test_sites=test_sites) for href in dict.fromkeys(hrefs)]
    return [
        FoundUrl(map_key(url.href), url.href, url.origin_host, depth) for url in checked if isinstance(url, AllowedUrl)
    ]
