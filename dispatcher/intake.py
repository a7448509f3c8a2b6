"""The front desk: takes labs' requests in, tells where they stand, and ends them. Implements `LabService`."""

import asyncio
from collections.abc import Callable, Sequence

from dispatcher.audit import Auditor
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.bus import Bus
from dispatcher.caller import Caller
from dispatcher.callers import Callers
from dispatcher.cancellations import Cancellations
from dispatcher.crawl_ledger import Crawl, crawl_notes
from dispatcher.errors import Conflict, NotFound
from dispatcher.fetch_order import ids_in_fetch_order
from dispatcher.frontier import Frontier
from dispatcher.job_queue import JobQueue
from dispatcher.job_recall import JobRecall
from dispatcher.jobs import Batch, BatchCounts, Job, JobState, Result, record_of
from dispatcher.lab_documents import raw_text
from dispatcher.lab_service import BatchPage, StoredDocument
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import load_body, load_document
from dispatcher.page_cache import READ_ONLY_DEADLINE_MS, PageCache
from dispatcher.page_evidence import Evidence, PageEvidence
from dispatcher.rate_limits import DEFAULT_PER_MINUTE, OwnRates, Rates
from dispatcher.recent_callers import RecentCallers
from dispatcher.scrape_request import ScrapeRequest, check_same_options
from dispatcher.submissions import Submissions, with_purpose
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing

_POLL_S = 1.0
_ENDED_BADLY = frozenset({JobState.REFUSED, JobState.FAILED})
_PAGE = 1_000


class Intake:
    """Serves labs. A batch is accepted once it is in the ledger; the frontier is told after that, and is rebuilt from
    the ledger if that fails."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        frontier: Frontier,
        objects: ObjectStore,
        cancellations: Cancellations,
        options: BatchOptions,
        events: BatchEvents,
        bus: Bus,
        key_secret: bytes,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        job_deadline_ms: int,
        tracing: Tracing | None = None,
        evidence: PageEvidence | None = None,
        queue: JobQueue | None = None,
        cache: PageCache | None = None,
        rates: Rates | None = None,
        default_per_minute: int = DEFAULT_PER_MINUTE,
        recent: RecentCallers | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._ledger, self._objects = ledger, objects
        self._recall, self._options = JobRecall(frontier=frontier, cancellations=cancellations), options
        self._events, self._bus = events, bus
        self._callers = Callers(
            keys=ledger,
            key_secret=key_secret,
            clock=clock,
            rates=rates or OwnRates(),
            default_per_minute=default_per_minute,
            refused=Auditor(ledger=ledger, clock=clock, new_id=new_id),
            recent=recent,
            telemetry=telemetry,
        )
        self._clock, self._new_id = clock, new_id
        self._job_deadline_ms, self._tracing = job_deadline_ms, tracing or Tracing()
        self._submissions = Submissions(ledger=ledger, clock=clock, new_id=new_id)
        self._queue = queue or JobQueue(frontier=frontier, bus=bus, cache=cache)
        self._cache, self._evidence = cache, evidence

    async def caller_of(self, bearer: str) -> Caller:
        """Return who a key belongs to."""
        return await self._callers.caller_of(bearer)

    async def submit(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        """Accept a request: into the ledger, then onto the frontier."""
        now_ms = self._clock()
        batch = Batch(
            batch_id=self._new_id(),
            team_id=team_id,
            kind=request.kind,
            options=with_purpose(request.options, request.named, caller),
            invalid_urls=tuple(invalid.url for invalid in request.invalid),
            created_ms=now_ms,
            budget_credits=request.budget_credits,
            webhook=request.webhook,
        )
        if self._cache is not None and batch.kind == "scrape":
            await self._cache.check(request.urls[0].href, batch.options)
        jobs = self._jobs(batch, request)
        stored, let_out = await self._submissions.submit(
            batch,
            jobs,
            caller=caller,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )
        if stored.batch_id == batch.batch_id:
            self._tracing.batch_accepted(batch.batch_id, len(jobs))
            self._options.remember(batch.batch_id, batch.options)
            await self._queue.add(let_out, batch.options)
        return stored

    async def extend(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        """Add the pages of a request to the batch that it names: into the ledger, then onto the frontier."""
        batch_id = request.append_to or ""
        batch = await self._batch(team_id, batch_id)
        check_same_options(batch, request)
        extension = await self._submissions.extend(
            batch,
            self._jobs(batch, request),
            caller=caller,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )
        if extension.outcome == "unknown":
            raise NotFound(f"no job {batch_id}")
        if extension.outcome == "over":
            raise Conflict(f"appendToId: the batch {batch_id} is cancelled and takes no more pages; post a new batch")
        self._options.remember(batch_id, batch.options)
        await self._queue.add(extension.jobs, batch.options)
        return batch

    def _jobs(self, batch: Batch, request: ScrapeRequest) -> list[Job]:
        now_ms = self._clock()
        job_ids = ids_in_fetch_order([url.origin_host for url in request.urls], self._new_id)
        return [
            Job(
                job_id=job_id,
                batch_id=batch.batch_id,
                team_id=batch.team_id,
                position=position,
                url=url.href,
                host=url.origin_host,
                priority=1 if request.kind == "scrape" else 0,
                created_ms=now_ms,
                updated_ms=now_ms,
                deadline_ms=now_ms + (READ_ONLY_DEADLINE_MS if batch.options.reads_only else self._job_deadline_ms),
            )
            for position, (job_id, url) in enumerate(zip(job_ids, request.urls, strict=True))
        ]

    async def wait(self, batch_id: str, *, timeout_ms: int) -> bool:
        """Wait until every job of a batch has ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while True:
            counts = await self._ledger.counts(batch_id)
            if counts.ended == counts.total:
                return True
            left = deadline - loop.time()
            if left <= 0:
                return False
            await self._events.wait(batch_id, min(left, _POLL_S))

    async def status(self, team_id: str, batch_id: str, *, from_position: int, limit: int) -> BatchPage:
        """Return a batch and some of its jobs."""
        batch, crawl, counts = await self._standing(team_id, batch_id)
        jobs = await self._ledger.jobs_of(batch_id, from_position=from_position, limit=limit)
        return await self._page(batch, crawl, counts, jobs)

    async def pages(self, team_id: str, batch_id: str, job_ids: Sequence[str]) -> BatchPage:
        """Return a batch and these of its jobs."""
        batch, crawl, counts = await self._standing(team_id, batch_id)
        jobs = [job for job in await self._ledger.jobs(job_ids) if job.batch_id == batch_id]
        return await self._page(batch, crawl, counts, sorted(jobs, key=lambda job: job.position))

    async def _standing(self, team_id: str, batch_id: str) -> tuple[Batch, Crawl | None, BatchCounts]:
        """Read in this order, and before any job: what is said to have ended is whole in all that is read after it."""
        batch = await self._batch(team_id, batch_id)
        crawl = await self._ledger.crawl(batch_id) if batch.kind == "crawl" else None
        return batch, crawl, await self._ledger.counts(batch_id)

    async def _page(self, batch: Batch, crawl: Crawl | None, counts: BatchCounts, jobs: list[Job]) -> BatchPage:
        done = [job for job in jobs if job.state is JobState.COMPLETED]
        cached = await self._ledger.cached_count(batch.batch_id) if batch.options.may_read else 0
        results = await self._ledger.results([job.job_id for job in done])
        # Another job may keep the same content: what this one had is deleted all the same.
        kept = [job for job in done if job.content_deleted_ms is None]
        documents: dict[str, StoredDocument] = {}
        for job in kept:
            if job.document_hash and (document := await load_document(self._objects, job.document_hash)):
                documents[job.job_id] = document
        raw_html: dict[str, str] = {}
        if "rawHtml" in batch.options.formats:
            bodies = {job.job_id: results[job.job_id] for job in kept if job.job_id in results}
            raw_html = {job_id: html for job_id, result in bodies.items() if (html := await self._raw(result))}
        return BatchPage(
            batch=batch,
            counts=counts,
            jobs=jobs,
            results=results,
            documents=documents,
            credits=counts.completed - cached,
            raw_html=raw_html,
            is_open=crawl is not None and crawl.ended_ms is None,
            notes=() if crawl is None else crawl_notes(crawl),
            evidence=await self._evidence.of(results.values()) if self._evidence else Evidence(),
        )

    async def cancel(self, team_id: str, batch_id: str) -> bool:
        """Cancel what is not fetched yet, on the frontier and on nodes too, wherever they are connected."""
        if (await self._batch(team_id, batch_id)).kind == "crawl":
            raise NotFound(f"no batch {batch_id}")
        cancelled = await self._ledger.cancel(batch_id, self._clock())
        if cancelled is None:
            return False
        self._events.ended(batch_id)
        await self._recall.recall(cancelled)
        return True

    async def dead_letters(self, team_id: str, *, before_ms: int | None = None, limit: int = 100) -> list[Job]:
        """Return a team's failed jobs with their reasons, newest first; with `before_ms` those that failed before."""
        return await self._ledger.dead_letters(team_id=team_id, before_ms=before_ms, limit=limit)

    async def errors(self, team_id: str, batch_id: str) -> list[Job]:
        """Return the jobs that were refused or failed."""
        await self._batch(team_id, batch_id)
        found: list[Job] = []
        position = 0
        while jobs := await self._ledger.jobs_of(batch_id, from_position=position, limit=_PAGE):
            found.extend(job for job in jobs if job.state in _ENDED_BADLY)
            position = jobs[-1].position + 1
        return found

    async def _batch(self, team_id: str, batch_id: str) -> Batch:
        batch = await self._ledger.batch(batch_id)
        if batch is None or batch.team_id != team_id or batch.kind == "discovery":
            raise NotFound(f"no job {batch_id}")
        return batch

    async def _raw(self, result: Result) -> str | None:
        record = record_of(result)
        body = await load_body(self._objects, record)
        return None if body is None else raw_text(body, record.content_type)
