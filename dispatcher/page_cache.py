"""Answers from pages that were fetched before, for requests with `maxAge`, `minAge` or `lockdown`.

A page answers where all of this holds:
- it was fetched with the same URL, country, languages and purpose (`page_keys`), at most `maxAge` and at least `minAge`
  ago, with a status of 200 to 299;
- it was fetched without zero data retention and with `storeInCache`, and its content is still kept;
- the site's robots.txt, as it is known now, allows the page. A request that is to fetch nothing asks no site for its
  robots.txt: where its rules are not known, those of the time of the fetch hold.

A job that is answered goes from queued to completed without a fetch, or to fetched where its page has to be cleaned
anew for what this request wants. It is free, and its result is the first job's, with its record.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.errors import NotCached, StoreError
from dispatcher.gate import Gate
from dispatcher.jobs import Job, ScrapeOptions, record_of
from dispatcher.ledger import Ledger
from dispatcher.page_keys import answer_key
from dispatcher.page_ledger import LOCKDOWN_MISS, NO_CACHED_DATA, CachedAnswer, KeptVersion, PageVersion
from dispatcher.page_wants import is_shared, wants_of
from dispatcher.settlement import FetchedPage
from dispatcher.telemetry import Telemetry
from protocol.record import Record

_log = structlog.get_logger("page_cache")
READ_ONLY_DEADLINE_MS = 60_000
"""A job that is to fetch nothing fails after this time if nobody answered it."""
_PAGE = 500
_ROBOTS_PATIENCE_S = 3.0
"""How long sites are waited for that have to be asked for their robots.txt; pages of slower ones are fetched anew."""
_ROBOTS_AT_ONCE = 32


def answers_later(record: Record, options: ScrapeOptions) -> bool:
    """Tell whether a fetched page may answer later requests."""
    return options.store_in_cache and not options.zero_data_retention and 200 <= record.status <= 299


def version_of(job_id: str, url: str, record: Record, options: ScrapeOptions, *, now_ms: int) -> PageVersion:
    """Return a fetched page as what may answer later. A node's clock may be wrong: no page is of the future."""
    fetched_ms = min(record.finished_ms, now_ms)
    return PageVersion(page_key=answer_key(url, options), fetched_ms=fetched_ms, job_id=job_id)


class PageCache:
    """Answers jobs before they go to the frontier. `clean` is told of pages that have to be cleaned anew."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        options: BatchOptions,
        gate: Gate,
        events: BatchEvents,
        clean: Callable[[FetchedPage], None],
        clock: Callable[[], int],
        telemetry: Telemetry | None = None,
    ) -> None:
        self._ledger, self._options, self._gate, self._events = ledger, options, gate, events
        self._clean, self._clock, self._telemetry = clean, clock, telemetry or Telemetry()

    async def check(self, url: str, options: ScrapeOptions) -> None:
        """Make sure that a page can answer where nothing is to be fetched; NotCached, before anything is stored."""
        if not options.reads_only:
            return
        versions = await self._versions([url], options)
        if not versions or await self._gate.permits(url, asking=False) is False:
            raise _not_cached(options)

    async def begin(self, jobs: Sequence[Job], options: ScrapeOptions) -> list[Job]:
        """Answer queued jobs of one batch, where something can; those that are to be fetched.

        Never raises for a store that fails: what is not answered is fetched, or fails by its deadline where nothing is
        to be fetched.
        """
        if not options.may_read:
            return list(jobs)
        rest: list[Job] = []
        for start in range(0, len(jobs), _PAGE):
            page = jobs[start : start + _PAGE]
            try:
                rest.extend(await self._begin(page, options))
            except StoreError as error:
                _log.warning("cache_not_read", jobs=len(page), error=str(error))
                rest.extend(() if options.reads_only else page)
        return rest

    async def _begin(self, jobs: Sequence[Job], options: ScrapeOptions) -> list[Job]:
        versions = await self._versions([job.url for job in jobs], options)
        candidates = [job for job in jobs if answer_key(job.url, options) in versions]
        permitted = await self._permitted(candidates, options)
        sources = await self._options.of({version.batch_id for version in versions.values()})
        answered = await asyncio.gather(
            *(
                self._answer(job, options, version, sources.get(version.batch_id))
                for job in permitted
                for version in (versions[answer_key(job.url, options)],)
            )
        )
        done = {job.job_id for job, is_answered in zip(permitted, answered, strict=True) if is_answered}
        await self._tell([job for job in permitted if job.job_id in done])
        rest = [job for job in jobs if job.job_id not in done]
        if options.reads_only and rest:
            reason = LOCKDOWN_MISS if options.lockdown else NO_CACHED_DATA
            detail = str(_not_cached(options))
            now_ms = self._clock()
            await asyncio.gather(
                *(self._ledger.fail(job.job_id, reason=reason, detail=detail, now_ms=now_ms) for job in rest)
            )
            for job in rest:
                self._events.ended(job.batch_id, job.job_id)
            rest = []
        return rest

    async def _versions(self, urls: Sequence[str], options: ScrapeOptions) -> dict[str, KeptVersion]:
        now_ms = self._clock()
        return await self._ledger.newest_versions(
            [answer_key(url, options) for url in dict.fromkeys(urls)],
            from_ms=now_ms - options.max_age_ms,
            until_ms=now_ms - (options.min_age_ms or 0),
            with_content=True,
        )

    async def _permitted(self, jobs: Sequence[Job], options: ScrapeOptions) -> list[Job]:
        """The jobs whose sites' robots.txt still allow their pages."""
        if not options.reads_only:
            await self._learn_robots(jobs)
        permitted: list[Job] = []
        for job in jobs:
            verdict = await self._gate.permits(job.url, asking=False)
            if verdict or (verdict is None and options.reads_only):
                permitted.append(job)
        return permitted

    async def _learn_robots(self, jobs: Sequence[Job]) -> None:
        of_hosts = {job.host: job.url for job in jobs}
        room = asyncio.Semaphore(_ROBOTS_AT_ONCE)

        async def learn(url: str) -> None:
            async with room:
                await self._gate.permits(url, asking=True)

        tasks = [asyncio.create_task(learn(url)) for url in of_hosts.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_ROBOTS_PATIENCE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _answer(
        self, job: Job, options: ScrapeOptions, version: KeptVersion, source: ScrapeOptions | None
    ) -> bool:
        is_same = (
            source is not None
            and is_shared(source)
            and is_shared(options)
            and wants_of(source) == wants_of(options)
            and source.screenshot == options.screenshot
        )
        document_hash = version.document_hash if is_same else None
        return await self._ledger.answer_from_cache(
            CachedAnswer(
                job_id=job.job_id, log_index=version.log_index, document_hash=document_hash, now_ms=self._clock()
            )
        )

    async def _tell(self, answered: Sequence[Job]) -> None:
        """Tell of what is completed, and hand over what is to be cleaned: what is missed here is found in the
        ledger."""
        now = await self._ledger.jobs([job.job_id for job in answered])
        fetched = {job.job_id: job.batch_id for job in now if job.document_hash is None}
        for job in now:
            if job.job_id not in fetched:
                self._telemetry.job_ended("completed")
                self._events.ended(job.batch_id, job.job_id)
        for job_id, result in (await self._ledger.results(list(fetched))).items():
            self._clean(FetchedPage(job_id, fetched[job_id], record_of(result)))


def _not_cached(options: ScrapeOptions) -> NotCached:
    if options.lockdown:
        return NotCached(
            "lockdown: no earlier version of this page is kept that may answer, and lockdown fetches nothing; leave it"
            " out, or raise maxAge",
            code="SCRAPE_LOCKDOWN_CACHE_MISS",
        )
    return NotCached(
        "minAge: no earlier version of this page is kept that may answer, and minAge fetches nothing; leave it out, or"
        " change minAge and maxAge",
        code="SCRAPE_NO_CACHED_DATA",
    )
