"""Requests of schedules, taken in as the API takes those of labs: the same decoding, the same desks."""

from collections.abc import Mapping
from typing import Final, Protocol

from dispatcher.caller import Caller
from dispatcher.crawl_request import CrawlRequest, decode_crawl
from dispatcher.crawl_scope import PathPatterns
from dispatcher.crawl_service import StartedCrawl
from dispatcher.event_documents import JobPages
from dispatcher.jobs import Batch
from dispatcher.key_scopes import scopes_for
from dispatcher.lab_documents import status_answer
from dispatcher.request_fields import Rejected
from dispatcher.schedules import RequestKind
from dispatcher.scrape_request import ScrapeRequest, decode_batch, decode_scrape
from protocol.urls import NO_TEST_SITES, TestSites

ADDRESSES: Final[Mapping[RequestKind, str]] = {
    "scrape": "/v2/scrape",
    "batch_scrape": "/v2/batch/scrape",
    "crawl": "/v2/crawl",
}


class BatchDesk(JobPages, Protocol):
    """The part of the lab service that this needs."""

    async def submit(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        """See LabService."""
        ...

    async def extend(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        """See LabService."""
        ...


class CrawlDesk(Protocol):
    """Where crawls are taken in."""

    async def start(
        self, caller: Caller, request: CrawlRequest, *, idempotency_key: str | None, request_hash: str
    ) -> StartedCrawl:
        """See CrawlService."""
        ...


class ScheduledRequests:
    """The RequestDesk over the lab's own. `has_model`, `has_browser`: the operator configured one."""

    def __init__(
        self,
        *,
        batches: BatchDesk,
        crawls: CrawlDesk,
        patterns: PathPatterns,
        test_sites: TestSites = NO_TEST_SITES,
        has_model: bool = False,
        has_browser: bool = False,
    ) -> None:
        self._batches, self._crawls, self._patterns = batches, crawls, patterns
        self._test_sites, self._has_model, self._has_browser = test_sites, has_model, has_browser

    def check(self, kind: RequestKind, body: bytes) -> Rejected | None:
        """See RequestDesk."""
        decoded = self._decode(kind, body)
        return decoded if isinstance(decoded, Rejected) else None

    async def submit(
        self, kind: RequestKind, body: bytes, *, caller: Caller, idempotency_key: str, request_hash: str
    ) -> str | Rejected:
        """See RequestDesk."""
        address = ADDRESSES[kind]
        caller.require_any(scopes_for("POST", address), f"a schedule of {address}")
        decoded = self._decode(kind, body)
        if isinstance(decoded, Rejected):
            return decoded
        if isinstance(decoded, CrawlRequest):
            started = await self._crawls.start(
                caller, decoded, idempotency_key=idempotency_key, request_hash=request_hash
            )
            return started.batch.batch_id
        take = self._batches.submit if decoded.append_to is None else self._batches.extend
        batch = await take(
            caller.team_id, decoded, idempotency_key=idempotency_key, request_hash=request_hash, caller=caller
        )
        return batch.batch_id

    async def has_ended(self, team_id: str, batch_id: str) -> bool:
        """See RequestDesk."""
        head = await self._batches.status(team_id, batch_id, from_position=0, limit=0)
        status = status_answer(head, [], next_url=None, errors_url="").status
        return status != "scraping" and head.counts.ended >= head.counts.total

    def _decode(self, kind: RequestKind, body: bytes) -> ScrapeRequest | CrawlRequest | Rejected:
        if kind == "crawl":
            return decode_crawl(
                body,
                patterns=self._patterns,
                test_sites=self._test_sites,
                has_model=self._has_model,
                has_browser=self._has_browser,
            )
        decode = decode_scrape if kind == "scrape" else decode_batch
        return decode(body, test_sites=self._test_sites, has_model=self._has_model, has_browser=self._has_browser)
