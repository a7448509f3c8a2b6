"""The front desk for crawls: takes them in, tells how they stand, and ends them."""

from typing import Final

import msgspec

from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.caller import Caller
from dispatcher.crawl_engine import CrawlEngine
from dispatcher.crawl_ledger import Crawl, NewCrawl
from dispatcher.crawl_request import CrawlRequest
from dispatcher.crawl_scope import FoundUrl
from dispatcher.errors import NotFound
from dispatcher.job_queue import JobQueue
from dispatcher.job_recall import JobRecall
from dispatcher.jobs import Batch
from dispatcher.ledger import Ledger
from dispatcher.similar_urls import url_key
from dispatcher.submissions import Submissions, with_purpose
from dispatcher.tracing import Tracing

MOST_ACTIVE: Final = 1_000


class StartedCrawl(msgspec.Struct, frozen=True):
    """A crawl that was accepted, and what is to be said about it."""

    batch: Batch
    warnings: tuple[str, ...] = ()


class CrawlService:
    """Serves labs. A crawl is accepted once it is in the ledger; the engine does the rest."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        engine: CrawlEngine,
        submissions: Submissions,
        queue: JobQueue,
        recall: JobRecall,
        options: BatchOptions,
        events: BatchEvents,
        tracing: Tracing,
    ) -> None:
        self._ledger, self._engine, self._submissions = ledger, engine, submissions
        self._queue, self._recall = queue, recall
        self._options, self._events, self._tracing = options, events, tracing

    async def start(
        self, caller: Caller, request: CrawlRequest, *, idempotency_key: str | None, request_hash: str
    ) -> StartedCrawl:
        """Accept a crawl; durable before it returns. Raises as `Submissions` does for limits and credits, and
        IdempotencyConflict as for a batch."""
        growth = self._engine.growth()
        batch = Batch(
            batch_id=growth.new_id(),
            team_id=caller.team_id,
            kind="crawl",
            options=with_purpose(request.options, request.named, caller),
            created_ms=growth.now_ms,
            webhook=request.webhook,
        )
        spec, warnings = request.spec, list(request.warnings)
        new = NewCrawl(
            batch=batch,
            spec=spec,
            start=None if spec.sitemap == "only" else _start(request),
            is_seeded=spec.sitemap == "skip",
        )
        stored, jobs = await self._submissions.start_crawl(
            new, growth, caller=caller, idempotency_key=idempotency_key, request_hash=request_hash
        )
        if stored.batch_id == batch.batch_id:
            self._tracing.batch_accepted(batch.batch_id, len(jobs))
            self._options.remember(batch.batch_id, stored.options)
            await self._queue.add(jobs, stored.options)
            if (crawl := await self._ledger.crawl(batch.batch_id)) is not None:
                if crawl.spec.limit < spec.limit:
                    paid = f"the team's credits pay for {crawl.spec.limit} pages: that is the limit of this crawl"
                    warnings.append(paid)
                self._engine.begin(crawl)
        return StartedCrawl(stored, tuple(warnings))

    async def crawl(self, team_id: str, crawl_id: str) -> Crawl:
        """Return a team's crawl; NotFound for any other id."""
        crawl = await self._ledger.crawl(crawl_id)
        if crawl is None or crawl.team_id != team_id:
            raise NotFound(f"no job {crawl_id}")
        return crawl

    async def active(self, team_id: str) -> list[Crawl]:
        """Return a team's crawls that have not ended, the oldest first, `MOST_ACTIVE` at most."""
        return await self._ledger.running_crawls(team_id=team_id, limit=MOST_ACTIVE)

    async def cancel(self, team_id: str, crawl_id: str) -> bool:
        """Cancel what is not fetched yet, wherever it is; False where the crawl has ended already. Nothing is added to
        it from now on."""
        await self.crawl(team_id, crawl_id)
        cancelled = await self._ledger.cancel_crawl(crawl_id, self._engine.growth().now_ms)
        if cancelled is None:
            return False
        self._events.ended(crawl_id)
        await self._recall.recall(cancelled)
        return True


def _start(request: CrawlRequest) -> FoundUrl:
    url = request.start
    key = url_key(url, similar_is_same=request.spec.deduplicate_similar_urls)
    return FoundUrl(key, url.href, url.origin_host, 0)
